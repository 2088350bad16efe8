"""Settings: order of sources, origins, and errors that say what, where and what to do."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing import config
from farthing.errors import ConfigError
from farthing.kafka.settings import SASL_REFUSED, KafkaSettings, read_secret

MINIMAL = """
[[route]]
bundle = "moderation"
source = "in"
sink = "out"
dead_letters = "dead"
"""


@pytest.fixture
def toml(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "farthing.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("FARTHING_KAFKA__GROUP_ID", "FARTHING_KAFKA__BOOTSTRAP_SERVERS", "FARTHING_WORKER__WORKERS"):
        monkeypatch.delenv(name, raising=False)


def test_defaults_never_lose_data(toml):
    settings = config.load(toml(MINIMAL)).settings
    assert settings.kafka.delivery == "at_least_once"
    assert settings.kafka.auto_offset_reset == "earliest"
    assert settings.kafka.isolation_level == "read_committed"
    assert settings.worker.on_corrupt_batch == "halt"
    assert settings.http.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value", "is_setting"),
    [
        ("FARTHING_KAFKA__GROUP_ID", "another", True),
        ("farthing_worker__workers", "3", True),
        ("FARTHING_METER", '{"enabled": false}', True),
        ("FARTHING_ROUTE", '[{"bundle":"moderation","source":"a","sink":"b","dead_letters":"c"}]', True),
        ("FARTHING_NO_JIT", "1", False),
        ("FARTHING_CONFIG", "other.toml", False),
        ("FARTHING_KAFKA_BOOTSTRAP", "elsewhere:9092", False),
        ("NUMBA_CACHE_DIR", "somewhere", False),
    ],
)
def test_an_environment_without_settings_lacks_what_is_read_and_nothing_else(
    toml, monkeypatch, name, value, is_setting
):
    path = toml(MINIMAL)
    from_file = config.load(path, environment=False).settings
    monkeypatch.setenv(name, value)
    assert (config.load(path).settings != from_file) == is_setting
    assert config.load(path, environment=False).settings == from_file
    assert (name not in config.without_settings(os.environ)) == is_setting


def test_flag_beats_environment_beats_file_beats_default(toml, monkeypatch):
    path = toml(MINIMAL + "[worker]\nworkers = 2\ncommit_interval_ms = 200\n")
    assert config.load(path).settings.worker.workers == 2
    monkeypatch.setenv("FARTHING_WORKER__WORKERS", "3")
    assert config.load(path).settings.worker.workers == 3
    loaded = config.load(path, {"worker.workers": 4})
    assert loaded.settings.worker.workers == 4
    origins = {name: origin for name, _, origin in loaded.rows()}
    assert origins["worker.workers"] == "flag"
    assert origins["worker.commit_interval_ms"] == str(path)
    assert origins["worker.threads"] == "default"
    assert origins["route.0.bundle"] == str(path)
    assert {n: o for n, _, o in config.load(path).rows()}["worker.workers"] == "FARTHING_WORKER__WORKERS"


@pytest.mark.parametrize("text", ["a:1,b:2", '["a:1", "b:2"]', "a:1, b:2"])
def test_servers_in_a_variable(toml, monkeypatch, text):
    monkeypatch.setenv("FARTHING_KAFKA__BOOTSTRAP_SERVERS", text)
    assert config.load(toml(MINIMAL)).settings.kafka.bootstrap_servers == ("a:1", "b:2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[kafka]\ngropu_id = "x"\n', ["kafka.gropu_id", "is not a setting", "did you mean kafka.group_id"]),
        ("[kafka]\nsession_timeout_ms = 5\n", ["kafka.session_timeout_ms", "greater than or equal to 1000", "5"]),
        ("[kafka]\nsession_timeout_ms = 6000\n", ["heartbeat_interval_ms (3000)", "session_timeout_ms (6000)"]),
        ('[kafka]\nsecurity_protocol = "SASL_SSL"\n', ["sasl_mechanism is not set"]),
        (
            '[kafka]\nsecurity_protocol = "SASL_PLAINTEXT"\nsasl_mechanism = "PLAIN"\n',
            ["sasl_plain_username and sasl_plain_password_file"],
        ),
        (
            '[kafka]\nsecurity_protocol = "SASL_PLAINTEXT"\nsasl_mechanism = "PLAIN"\nsasl_plain_username = "u"\n'
            'sasl_plain_password_file = "p"\n',
            ["unencrypted", "SASL_SSL", "allow_insecure"],
        ),
        ('[kafka]\nsasl_mechanism = "OAUTHBEARER"\n', ["sasl_mechanism is set", "PLAINTEXT", "SASL_SSL"]),
        ('[kafka]\nsasl_mechanism = "gssapi"\n', ["kafka.sasl_mechanism", "not offered", "Kerberos", "SCRAM"]),
        ('[kafka]\nsasl_mechanism = "PLAIN"\n', ["sasl_mechanism is set", "PLAINTEXT", "SASL_SSL"]),
        ('[kafka]\nsecurity_protocol = "SSL"\nsasl_plain_username = "u"\n', ["sasl_plain_username is set", "is SSL"]),
        ('[kafka]\nssl_cafile = "ca.pem"\n', ["ssl_cafile is set", "PLAINTEXT"]),
        ('[kafka]\nsecurity_protocol = "SSL"\nssl_keyfile = "key.pem"\n', ["ssl_certfile"]),
        ('[kafka]\nbootstrap_servers = ["b:port"]\n', ["kafka.bootstrap_servers", "'b:port' is not host:port"]),
        ('[kafka]\nbootstrap_servers = ["b:99999"]\n', ["kafka.bootstrap_servers", "'b:99999' is not host:port"]),
        ('[kafka]\nbootstrap_servers = ["kafka://b:1"]\n', ["kafka.bootstrap_servers", "is not host:port"]),
        ('[kafka]\nbootstrap_servers = "a:1,,b:1"\n', ["kafka.bootstrap_servers", "'' is not host:port"]),
        ('[kafka]\ngroup_instance_id = "a b"\n', ["kafka.group_instance_id"]),
        ('[kafka]\ngroup_instance_id = ""\n', ["kafka.group_instance_id"]),
        ("[kafka]\nfetch_max_bytes = 4294967296\n", ["kafka.fetch_max_bytes", "less than or equal"]),
        ("[kafka]\nfetch_max_wait_ms = 30000\n", ["fetch_max_wait_ms (30000)", "request_timeout_ms (30000)"]),
        ("[kafka\n", ["cannot be read as TOML"]),
        ("[http]\nprot = 1\n", ["http.prot", "did you mean http.port"]),
    ],
)
def test_errors_say_what_where_and_what_to_do(toml, text, said):
    path = toml(text + (MINIMAL if "[kafka\n" != text else ""))
    with pytest.raises(ConfigError) as error:
        config.load(path)
    for part in said:
        assert part in str(error.value)
    assert "farthing.toml" in str(error.value)


def test_transactions_must_live_longer_than_a_commit_interval(toml):
    path = toml('[kafka]\ndelivery = "exactly_once"\ntransaction_timeout_ms = 1000\n' + MINIMAL)
    with pytest.raises(ConfigError, match=r"transaction_timeout_ms \(1000\).*twice worker.commit_interval_ms \(1000\)"):
        config.load(path)


def test_missing_file_and_no_route(tmp_path, toml):
    with pytest.raises(ConfigError, match="config init"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"no \[\[route\]\]"):
        config.load(toml(""))


def test_no_route_and_no_file_is_told_where_one_was_looked_for(toml):
    with pytest.raises(ConfigError, match=r"no settings file was found \(-c FILE, .*`farthing config init` writes one"):
        config.load(None)
    with pytest.raises(ConfigError) as error:
        config.load(toml(""))
    assert "was found" not in str(error.value)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("FARTHING_WORKER", "xx", "is no JSON; set single values as FARTHING_WORKER__WORKERS=1"),
        ("farthing_worker", "xx", "is no JSON; set single values as FARTHING_WORKER__WORKERS=1"),
        ("FARTHING_ROUTE", "x", "is no JSON; write [[route]] in the settings file"),
        ("FARTHING_MODEL__TRUSTED_KEYS", "canary.pem", "is no JSON, such as"),
    ],
)
def test_a_variable_that_is_no_json_is_named(variable, value, said, monkeypatch, toml):
    monkeypatch.setenv("FARTHING_WORKER__THREADS", "2")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as error:
        config.load(toml(MINIMAL))
    assert str(error.value).startswith(f"{variable}: {said}")
    assert "EnvSettingsSource" not in str(error.value) and value not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('route = "x"\n', "route: write [[route]]"),
        ('route = ["x"]\n', "route.0: write [[route]]"),
        ('[route]\nbundle = "x"\n', "route: write [[route]]"),
        (
            "kafka = 3\n" + MINIMAL.partition("[[route]]")[1] + MINIMAL.partition("[[route]]")[2],
            "kafka: write a section [kafka]",
        ),
        ("[[worker]]\nworkers = 1\n" + MINIMAL, "worker: write a section [worker]"),
        (MINIMAL + "fields = 3\n", "route.0.fields: write a section [route.fields]"),
        (MINIMAL + "campaign = 3\n", "route.0.campaign: write a section [route.campaign]"),
    ],
)
def test_a_value_in_place_of_a_section_is_told_how_to_write_one(text, said, toml):
    with pytest.raises(ConfigError) as error:
        config.load(toml(text))
    assert said in str(error.value)
    assert "valid" not in str(error.value) and "instance" not in str(error.value)


def test_topics_must_not_form_a_loop(toml):
    two = MINIMAL + MINIMAL.replace('"in"', '"out"').replace('sink = "out"', 'sink = "in"')
    with pytest.raises(ConfigError, match="for ever"):
        config.load(toml(two))
    with pytest.raises(ConfigError, match="same source"):
        config.load(toml(MINIMAL + MINIMAL))
    with pytest.raises(ConfigError, match="three topics"):
        config.load(toml(MINIMAL.replace('"dead"', '"in"')))


def test_a_sink_is_one_routes_own(toml):
    second = MINIMAL.replace('"in"', '"in2"')
    with pytest.raises(ConfigError, match=r"several routes write to out; .* give each route a sink of its own"):
        config.load(toml(MINIMAL + second))
    with pytest.raises(ConfigError, match="several routes write to dead;"):
        config.load(
            toml(MINIMAL + second.replace('"out"', '"dead"').replace('dead_letters = "dead"', 'dead_letters = "d"'))
        )
    assert (
        len(config.load(toml(MINIMAL + second.replace('"out"', '"out2"'))).settings.route) == 2
    )  # one dead-letter topic


def test_relative_bundle_is_taken_from_the_files_folder(toml, tmp_path):
    path = toml(MINIMAL.replace('"moderation"', '"bundles/mine"'))
    assert config.load(path).settings.route[0].bundle == str(tmp_path / "bundles/mine")


def test_example_is_valid_and_schema_names_every_section(toml):
    assert config.load(toml(config.EXAMPLE)).settings.route[0].source == "events.moderation"
    assert all(section in config.schema() for section in ("kafka", "route", "worker", "http"))


@pytest.mark.parametrize("mechanism", SASL_REFUSED)
def test_a_mechanism_that_does_not_work_is_refused_from_the_environment_too(toml, monkeypatch, mechanism):
    monkeypatch.setenv("FARTHING_KAFKA__SASL_MECHANISM", mechanism)
    with pytest.raises(ConfigError, match=f"{mechanism} is not offered: .*FARTHING_KAFKA__SASL_MECHANISM"):
        config.load(toml(MINIMAL))
    assert mechanism not in config.schema()


def test_workers_of_one_host_are_static_members_of_their_own():
    static = KafkaSettings(group_instance_id="host")
    assert [static.for_worker(i).group_instance_id for i in (None, 0, 1)] == ["host", "host-0", "host-1"]
    assert KafkaSettings().for_worker(1).group_instance_id is None


def test_secrets_are_read_from_files_only(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    assert read_secret(secret, "kafka.ssl_password_file") == "hunter2"
    with pytest.raises(ConfigError, match=r"kafka\.ssl_password_file"):
        read_secret(tmp_path / "none", "kafka.ssl_password_file")
    secret.write_text("\n")
    with pytest.raises(ConfigError, match="the file is empty"):
        read_secret(secret, "kafka.ssl_password_file")


@given(st.dictionaries(st.sampled_from(["kafka.group_id", "kafka.client_id"]), st.text(min_size=1, max_size=5)))
def test_flags_arrive_unchanged(flags):
    routes = {"route": [{"bundle": "b", "source": "i", "sink": "o", "dead_letters": "d"}]}
    settings = config.load(None, {**flags, "route": routes["route"]}).settings
    for name, value in flags.items():
        assert getattr(settings.kafka, name.split(".")[1]) == value


BIDDING = """
[kafka]
bootstrap_servers = ["b:1"]
[[route]]
bundle = "bidding"
source = "a"
sink = "b"
dead_letters = "c"
pacing = "p"
[route.campaign]
campaign = "spring"
value_per_click = 0.8
crid = "x"
strategy = "ortb"
c = 0.4
lambda = 3.5
"""


def test_a_bidding_route(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text(BIDDING)
    loaded = config.load(path)
    [route] = loaded.settings.route
    assert route.pacing == "p"
    assert route.campaign.model_dump(exclude_none=True, by_alias=True)["lambda"] == 3.5
    assert ("route.0.campaign.lambda", 3.5, str(path)) in list(loaded.rows())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('pacing = "p"', 'pacing = "a"', r"pacing \(a\) must be a topic of its own"),
        ("value_per_click = 0.8", "value_per_click = 0", "route.0.campaign.value_per_click"),
        ("lambda = 3.5", "lamda = 3.5", r"lamda: is not a setting"),
        ('strategy = "ortb"', 'strategy = "best"', "route.0.campaign.strategy"),
    ],
)
def test_bidding_routes_that_cannot_be(tmp_path, old, new, said):
    path = tmp_path / "f.toml"
    path.write_text(BIDDING.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        config.load(path)


def test_the_settings_file_is_found_in_this_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FARTHING_CONFIG", raising=False)
    assert config.found_file() is None
    (tmp_path / "farthing.toml").write_text(MINIMAL)
    assert config.found_file() == Path("farthing.toml")
    monkeypatch.setenv("FARTHING_CONFIG", "other.toml")
    assert config.found_file() == Path("other.toml")
    monkeypatch.setenv("FARTHING_CONFIG", "")
    assert config.found_file() == Path("farthing.toml")
    (tmp_path / "farthing.toml").unlink()
    (tmp_path / "farthing.toml").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="no such settings file"):
        config.load(config.found_file())


def test_hints_carry_the_file_that_was_given():
    said = "run `farthing topics create`, or start `farthing ledger`; `farthing config init` writes one"
    assert config.with_file(said, None) == said
    assert config.with_file(said, Path("my own.toml")) == (
        "run `farthing topics create -c 'my own.toml'`, or start `farthing ledger -c 'my own.toml'`; "
        "`farthing config init` writes one"
    )
    for command in ("doctor", "dead list", "dead show", "dead replay --dry-run"):
        name, _, flags = command.partition(" --")
        rest = f" --{flags}" if flags else ""
        assert config.with_file(f"`farthing {command}`", Path("a")) == f"`farthing {name} -c a{rest}`"
    assert config.with_file("`farthing topics create --partitions 4`", Path("a")) == (
        "`farthing topics create -c a --partitions 4`"
    )


def test_every_setting_has_a_description():
    schema = json.loads(config.schema())
    bare = [
        f"{section}.{name}"
        for section, part in [("settings", schema), *schema["$defs"].items()]
        for name, setting in part["properties"].items()
        if len(setting.get("description", "")) < 10
    ]
    assert not bare
