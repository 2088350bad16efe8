"""Oddities of JSON, each with the Status it must get: (value, status). The plan wants ``text`` (required) and ``id``."""

from farthing.blocks import Status as S

LEAST_OVERFLOW = (2**54 - 1) * 2**970  # half a unit in the last place above the largest double


def _text(body):
    return b'{"text":"' + body + b'"}'


def _beside(token):
    return b'{"text":"a","x":' + token + b"}"


CORPUS = [
    # --- what is no value at all
    (None, S.NULL_VALUE), (b"", S.EMPTY_VALUE), (b" ", S.EMPTY_VALUE), (b"\t\r\n ", S.EMPTY_VALUE), (b"\x00", S.SYNTAX),
    (b"\x0b", S.SYNTAX), (b"\x0c{}", S.SYNTAX), (b"\xc2\xa0{}", S.SYNTAX),
    # --- byte order marks
    (b"\xef\xbb\xbf{}", S.BYTE_ORDER_MARK), (b"\xef\xbb\xbf", S.BYTE_ORDER_MARK), (b"\xff\xfe{\x00}\x00", S.BYTE_ORDER_MARK),
    (b"\xfe\xff\x00{\x00}", S.BYTE_ORDER_MARK), (b"\xff\xfe\x00\x00{\x00\x00\x00", S.BYTE_ORDER_MARK),
    (b"\x00\x00\xfe\xff\x00\x00\x00{", S.BYTE_ORDER_MARK), (b"{\x00}\x00", S.SYNTAX), (b"\x00{\x00}", S.SYNTAX),
    (b"\xef\xbb{}", S.SYNTAX), (b' \xef\xbb\xbf{"text":"a"}', S.SYNTAX),
    # --- the top level
    (b"{}", S.MISSING_FIELD), (b"[]", S.NOT_AN_OBJECT), (b"[1]", S.NOT_AN_OBJECT), (b"null", S.NOT_AN_OBJECT),
    (b"true", S.NOT_AN_OBJECT), (b"false", S.NOT_AN_OBJECT), (b"0", S.NOT_AN_OBJECT), (b'"text"', S.NOT_AN_OBJECT),
    (b'[{"text":"a"}]', S.NOT_AN_OBJECT), (b" 1 ", S.NOT_AN_OBJECT), (b"-", S.SYNTAX), (b"nul", S.SYNTAX), (b"nulll", S.TRAILING_BYTES),
    (b"True", S.SYNTAX), (b"undefined", S.SYNTAX), (b"'text'", S.SYNTAX), (b"text", S.SYNTAX), (b"}", S.SYNTAX), (b"]", S.SYNTAX),
    (b":", S.SYNTAX), (b",", S.SYNTAX), (b'"', S.SYNTAX), (b"{", S.SYNTAX), (b"[", S.SYNTAX),
    # --- trailing bytes
    (b'{"text":"a"} ', S.OK), (b'{"text":"a"}\n', S.OK), (b'\r\n{"text":"a"}', S.OK), (b'{"text":"a"}x', S.TRAILING_BYTES),
    (b'{"text":"a"}}', S.TRAILING_BYTES), (b'{"text":"a"}{"text":"a"}', S.TRAILING_BYTES), (b'{"text":"a"}\x00', S.TRAILING_BYTES),
    (b'{"text":"a"},', S.TRAILING_BYTES), (b'{"text":"a"} \n1', S.TRAILING_BYTES), (b'{"text":"a"}//c', S.TRAILING_BYTES),
    (b"[] []", S.TRAILING_BYTES), (b"1 2", S.TRAILING_BYTES),
    # --- structure
    (b'{"text":"a",}', S.SYNTAX), (b'{,"text":"a"}', S.SYNTAX), (b'{"text" "a"}', S.SYNTAX), (b'{"text"::"a"}', S.SYNTAX),
    (b'{"text":}', S.SYNTAX), (b'{"text"}', S.SYNTAX), (b'{text:"a"}', S.SYNTAX), (b"{'text':'a'}", S.SYNTAX), (b'{1:"a"}', S.SYNTAX),
    (b'{null:"a"}', S.SYNTAX), (b'{"text":"a"', S.SYNTAX), (b'{"text":"a"]', S.SYNTAX), (b'["text":"a"]', S.SYNTAX),
    (b'{"text":"a" "b":1}', S.SYNTAX), (b'{"text":"a";"b":1}', S.SYNTAX), (b'{"text":"a",,"b":1}', S.SYNTAX),
    (b'{"text":"a","b"}', S.SYNTAX), (b'{"text":"a","b":[1,]}', S.SYNTAX), (b'{"text":"a","b":[,1]}', S.SYNTAX),
    (b'{"text":"a","b":[1 2]}', S.SYNTAX), (b'{"text":"a","b":[1}}', S.SYNTAX), (b'{"text":"a","b":{]}}', S.SYNTAX),
    (b'{"text":"a","b":[]}', S.OK), (b'{"text":"a","b":{}}', S.OK), (b'{"text":"a","b":[[],{}]}', S.OK),
    (b'{"text":"a",/**/"b":1}', S.SYNTAX), (b'{"text":"a"\x0b}', S.SYNTAX), (b' { "text" : "a" , "b" : [ 1 , 2 ] } ', S.OK),
    (b'{\t"text"\n:\r"a"}', S.OK), (b'{"":1,"text":"a"}', S.OK), (b'{"text\\u0000":1,"text":"a"}', S.OK),
    # --- the wanted fields
    (b'{"text":null}', S.NULL_FIELD), (b'{"text":5}', S.WRONG_TYPE), (b'{"text":1.5e3}', S.WRONG_TYPE), (b'{"text":true}', S.WRONG_TYPE),
    (b'{"text":false}', S.WRONG_TYPE), (b'{"text":[]}', S.WRONG_TYPE), (b'{"text":{}}', S.WRONG_TYPE), (b'{"text":["a"]}', S.WRONG_TYPE),
    (b'{"text":{"text":"a"}}', S.WRONG_TYPE), (b'{"Text":"a"}', S.MISSING_FIELD), (b'{"tex":"a"}', S.MISSING_FIELD),
    (b'{"textt":"a"}', S.MISSING_FIELD), (b'{"b":{"text":"a"}}', S.MISSING_FIELD), (b'{"b":[{"text":"a"}]}', S.MISSING_FIELD),
    (b'{"text":"a","id":null}', S.OK), (b'{"text":"a","id":7}', S.OK), (b'{"text":"a","id":{"a":[1,{}]}}', S.OK),
    (b'{"text":"a","id":[]}', S.OK), (b'{"text":"a","id":true}', S.OK), (b'{"text":"a","id":""}', S.OK), (b'{"text":""}', S.OK),
    (b'{"te\\u0078t":"a"}', S.OK), (b'{"\\u0074\\u0065\\u0078\\u0074":"a"}', S.OK), (b'{"te\\u0058t":"a"}', S.MISSING_FIELD),
    # --- duplicate keys: the last one counts
    (b'{"text":"a","text":"b"}', S.OK), (b'{"text":5,"text":"b"}', S.OK), (b'{"text":"a","text":5}', S.WRONG_TYPE),
    (b'{"text":"a","text":null}', S.NULL_FIELD), (b'{"text":null,"text":"b"}', S.OK), (b'{"text":{},"text":"b"}', S.OK),
    (b'{"text":"a","te\\u0078t":"b"}', S.OK), (b'{"text":"a","text":[1]}', S.WRONG_TYPE), (b'{"x":1,"x":2,"text":"a"}', S.OK),
    # --- literals
    *[(_beside(t), S.OK) for t in (b"null", b"true", b"false", b"[null,true,false]")],
    *[(_beside(t), S.SYNTAX) for t in (
        b"nul", b"nulL", b"NULL", b"tru", b"TRUE", b"fals", b"falsy", b"NaN", b"nan", b"Infinity", b"-Infinity", b"inf",
        b"-NaN", b"None", b"undefined", b"truefalse", b"n", b"t", b"f", b"nu\x00l",
    )],
    # --- numbers
    *[(_beside(t), S.OK) for t in (
        b"0", b"-0", b"0.0", b"-0.0", b"1", b"-1", b"10", b"1.5", b"1e5", b"1E5", b"1e+5", b"1e-5", b"1.5E+05", b"0e0", b"0e999",
        b"0.0e999", b"-0e99999999999", b"1e308", b"1.7976931348623157e308", b"-1.7976931348623157e308", b"1e-999", b"1e-99999999999",
        b"123456789012345678901234567890", b"0." + b"0" * 400 + b"1", b"1" + b"0" * 308, b"0.000001e314", b"1e0000000000000001",
        b"17976931348623157" + b"0" * 292, b"1.7976931348623158e308", b"4.9e-324", b"2.2250738585072014e-308",
        str(LEAST_OVERFLOW - 1).encode(),
    )],
    *[(_beside(t), S.NUMBER_OVERFLOW) for t in (
        b"1e309", b"-1e309", b"1e999", b"1e99999999999999999999", b"1" + b"0" * 309, b"9" * 5000, b"-" + b"9" * 400,
        b"1.7976931348623159e308", b"0.1e310", b"100e307", b"1.8e308", b"0.000001e400",
        str(LEAST_OVERFLOW).encode(),
    )],
    *[(_beside(t), S.SYNTAX) for t in (
        b"01", b"-01", b"00", b"+1", b"1.", b".5", b"-.5", b"1.e5", b"1e", b"1e+", b"1e-", b"1e5.5", b"1.5.5", b"--1", b"-", b"- 1",
        b"0x10", b"0b1", b"1_000", b"1,000", b"1e1e1", b"1f", b"1L", b"\xd9\xa1", b"1/2", b"1 000", b"e5", b"-e5", b"1ee5", b"0.e1",
    )],
    # --- escapes
    *[(_text(t), S.OK) for t in (
        b"\\\"", b"\\\\", b"\\/", b"\\b", b"\\f", b"\\n", b"\\r", b"\\t", b"\\u0000", b"\\u001f", b"\\u007f", b"\\u00e9", b"\\u00E9",
        b"\\u20ac", b"\\uFFFF", b"\\uffff", b"\\ud83d\\ude00", b"\\uD83D\\uDE00", b"\\udbff\\udfff", b"\\ud800\\udc00", b"a\\u0041b",
        b"\\\\u0041", b"\\\\\\\"", b"/", b"\\u0022", b"\\u005c", b"\x7f", b"\\ud7ff", b"\\ue000",
    )],
    *[(_text(t), S.SYNTAX) for t in (
        b"\\", b"\\x41", b"\\a", b"\\v", b"\\0", b"\\'", b"\\ ", b"\\U0041", b"\\u", b"\\u0", b"\\u00", b"\\u004", b"\\u00g0",
        b"\\u 041", b"\\u+041", b"\\u-041", b"\\u{41}", b"\\\n", b"\\\xc3\xa9", b"\\ud83d\\uzzzz",
    )],
    *[(_text(t), S.LONE_SURROGATE) for t in (
        b"\\ud83d", b"\\ude00", b"\\ud83dx", b"\\ud83d\\n", b"\\ud83d\\u0041", b"\\ud83d\\ud83d", b"\\ude00\\ud83d", b"\\udfff",
        b"\\ud800", b"a\\udc00b", b"\\ud83d\\ud83d\\ude00", b"\\ud83d ", b"\\uDBFF\\uDBFF", b"\\ud83d\\u",
    )],
    (b'{"\\ud83d":1,"text":"a"}', S.LONE_SURROGATE), (b'{"text":"a","b":"\\ude00"}', S.LONE_SURROGATE),
    (b'{"text":"a","b":["\\ud800"]}', S.LONE_SURROGATE), (b'{"text":"\\ud83d', S.LONE_SURROGATE),
    # --- control characters
    *[(_text(bytes([c])), S.CONTROL_CHARACTER) for c in (0, 1, 8, 9, 10, 11, 12, 13, 0x1B, 0x1F)],
    (b'{"te\nxt":1}', S.CONTROL_CHARACTER), (b'{"text":"a","b":"\x00"}', S.CONTROL_CHARACTER), (b'{"text":"1234567\n"}', S.CONTROL_CHARACTER),
    # --- UTF-8
    *[(_text(t), S.OK) for t in (
        b"\xc2\x80", b"\xc3\xa9", b"\xdf\xbf", b"\xe0\xa0\x80", b"\xe2\x82\xac", b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd",
        b"\xef\xbf\xbf", b"\xf0\x90\x80\x80", b"\xf0\x9f\x98\x80", b"\xf4\x8f\xbf\xbf", b"\xef\xbb\xbf", b"1234567\xc3\xa9",
        b"\xe2\x80\xa8", b"12345678\xf0\x9f\x98\x80\xf0\x9f\x98\x80",
    )],
    *[(_text(t), S.INVALID_UTF8) for t in (
        b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xc2a", b"\xc3\xc3", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xe2\x82",
        b"\xe2\x82a", b"\xe2a\xac", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98",
        b"\xf0\x9f\x98a", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe", b"\xff", b"abcdefgh\xff",
        b"\xed\xa0\xbd\xed\xb8\x80", b"\xfc\x80\x80\x80\x80\x80",
    )],
    (b'{"\xff":1,"text":"a"}', S.INVALID_UTF8), (b'{"text":"a","b":"\xc3"}', S.INVALID_UTF8), (b'{"text":"\xc3', S.INVALID_UTF8),
    (b'{"text":"a","b":{"c":["\xe9"]}}', S.INVALID_UTF8), (b'{"text":\xff}', S.SYNTAX),
    # --- depth: the outer object counts one
    (_beside(b"[" * 63 + b"]" * 63), S.OK), (_beside(b"[" * 64 + b"]" * 64), S.TOO_DEEP), (_beside(b"[" * 100_000), S.TOO_DEEP),
    (_beside(b'{"a":' * 63 + b"1" + b"}" * 63), S.OK), (_beside(b'{"a":' * 64 + b"1" + b"}" * 64), S.TOO_DEEP),
    (b"[" * 64 + b"]" * 64, S.NOT_AN_OBJECT), (b"[" * 65 + b"]" * 65, S.TOO_DEEP), (_beside(b'[{"a":' * 40), S.TOO_DEEP),
    (b'{"text":' + b"[" * 63 + b"]" * 63 + b"}", S.WRONG_TYPE), (b'{"text":' + b"[" * 64, S.TOO_DEEP),
    # --- one value cut at every byte
    *[(b'{"id":"\\u00e9\xc3\xa9","n":[-1.5e+3,true,null],"text":"ab\\n"}'[:n], None) for n in range(1, 58)],
]  # fmt: skip
