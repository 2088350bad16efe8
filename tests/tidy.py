"""What DESIGN.md claims of the code, as rules: each reads a tree of sources and says where it is broken.

A tree is a mapping of paths to texts, so that ``test_tidy.py`` can break each rule in memory and see that it notices.
"""

import ast
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "service/farthing/"
USERS = ("service/farthing/", "loadtest/", "deploy/", ".docs/", ".github/")  # of the package; tests are none
DOCS = ("README.md", "service/DESIGN.md", "service/OPERATIONS.md", "models/README.md")

# Each row may import those below it, and those beside it in the same row except among the pure rooms.
ROWS = (
    {"__main__", "cli"},
    {"demo", "commands", "distill", "evaluate", "breakeven", "ledger", "audit", "doctor", "dead"},
    {"serving"},
    {"config", "sections", "model"},
    {"kafka", "local", "files", "process"},
    {"wire", "payload", "features", "scoring", "tasks", "meter"},
    {"blocks"},
    {"bundle_files"},
    {"kernels", "errors", "rooms", "limits"},
)
PURE = {"wire", "payload", "features", "scoring", "tasks", "meter", "blocks"}
UPWARDS = {
    ("kernels", "blocks"),  # the names of array types
    ("distill", "__main__"),  # python -m farthing.distill ends as the command line does
    ("commands", "__main__"),  # so does python -m farthing.commands.metrics_table
}
# Parts of other rooms that are pure too: they import nothing else of their room.
PURE_PARTS = {
    "evaluate": {
        "measures/auctions",
        "measures/bidding",
        "measures/binary",
        "measures/bootstrap",
        "measures/choices",
        "measures/ranking",
    },
    "ledger": {"ages", "books", "history", "ledger", "series", "statement", "statement_json"},
}
IMPURE = {"asyncio", "time", "os", "logging", "socket", "structlog", "aiokafka", "aiohttp", "random", "datetime"}
IMPURE_ALLOWED = {("meter", "datetime")}  # a price has a day; the meter is told which
OWN_BASES = {"Protocol", "Exception", "IntEnum", "Enum", "object"}  # methods of other classes answer to their base
CLOCKS = {"now", "today", "utcnow", "fromtimestamp"}
ONE_ROOM = {"numba": "kernels", "llvmlite": "kernels", "aiokafka": "kafka", "faust": "ledger", "mode": "ledger"}
INSIDE_AIOKAFKA = ("kafka/membership.py", "kafka/frames.py")
LONGEST_LINES = 350
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "shared"}
BINDS_BY_DECORATOR = {
    "command",
    "field_validator",
    "model_validator",
    "field_serializer",
    "task",
    "agent",
    "timer",
    "get",
}


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _walked(tree: ast.AST) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree))


class Tree:
    """Sources by path, relative to the checkout: Python files parsed, Markdown as it is."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    @classmethod
    def of_checkout(cls) -> "Tree":
        paths = [p for top in USERS for p in (ROOT / top).rglob("*.py") if "__pycache__" not in p.parts]
        paths += [ROOT / doc for doc in DOCS]
        return cls({p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in paths})

    def changed(self, path: str, change) -> "Tree":
        """The same tree with another text at ``path``: ``change`` of the one that is there, or of nothing."""
        return Tree({**self.texts, path: change(self.texts.get(path, ""))})

    @cached_property
    def parsed(self) -> dict[str, ast.Module]:
        return {path: _parsed(text) for path, text in self.texts.items() if path.endswith(".py")}

    @cached_property
    def package(self) -> dict[str, ast.Module]:
        """The package's modules, by path under it."""
        return {p.removeprefix(PACKAGE): tree for p, tree in self.parsed.items() if p.startswith(PACKAGE)}

    @cached_property
    def modules(self) -> dict[str, str]:
        """Dotted name -> path under the package."""
        names = {}
        for path in self.package:
            name = "farthing." + path.removesuffix(".py").replace("/", ".")
            names[name.removesuffix(".__init__").removesuffix("farthing.__init__") or "farthing"] = path
        names["farthing"] = "__init__.py"
        return names

    def imports(self, tree: ast.Module) -> Iterator[tuple[str, int]]:
        """Modules that a file imports, wherever it does so, with lines: ``from a import b`` is a.b where that is one."""
        for node in _walked(tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(self.modules)
                if len(inner) < len(node.names):
                    yield node.module, node.lineno
                yield from ((name, node.lineno) for name in sorted(inner))


def room_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def each_library_stays_in_its_room(tree: Tree) -> list[str]:
    """Only ``kernels/`` imports numba or llvmlite, only ``kafka/`` aiokafka, only ``ledger/`` Faust."""
    return [
        f"{path}:{line} imports {name}, which {ONE_ROOM[name.split('.')[0]]}/ alone may"
        for path, module in tree.package.items()
        for name, line in tree.imports(module)
        if ONE_ROOM.get(name.split(".")[0], room_of(path)) != room_of(path)
    ]


def kernels_alone_ask_whether_they_are_compiled(tree: Tree) -> list[str]:
    """There is no NO_JIT branch beside ``@stage``: outside ``kernels/`` nothing reads the switch."""
    return [
        f"{path}:{node.lineno} reads NO_JIT; name a reference with @kernel or @stage"
        for path, module in tree.package.items()
        if room_of(path) != "kernels"
        for node in _walked(module)
        if (isinstance(node, ast.Name) and node.id == "NO_JIT")
        or (isinstance(node, ast.alias) and node.name == "NO_JIT")
    ]


def imports_point_down(tree: Tree) -> list[str]:
    """Each room imports what is below it, or beside it unless it is pure."""
    rank = {room: k for k, row in enumerate(ROWS) for room in row}
    wrong = []
    for path, module in tree.package.items():
        room = room_of(path)
        if room == "__init__":
            continue
        if room not in rank:
            wrong.append(f"{path} stands in no row of tests/tidy.py")
            continue
        for name, line in tree.imports(module):
            parts = name.split(".")
            if parts[0] != "farthing" or len(parts) < 2 or parts[1] not in rank or parts[1] == room:
                continue
            down, beside = rank[parts[1]] > rank[room], rank[parts[1]] == rank[room] and room not in PURE
            if not (down or beside or (room, parts[1]) in UPWARDS):
                wrong.append(f"{path}:{line} imports {name}, which is above or beside it")
    return wrong


def no_circle_of_imports(tree: Tree) -> list[str]:
    """No file imports itself over others; imports in functions and for types alone count."""
    graph = {
        path: {tree.modules[name] for name, _ in tree.imports(module) if name in tree.modules} - {path, "__init__.py"}
        for path, module in tree.package.items()
    }
    circles, done = [], set()

    def walk(path: str, way: list[str]) -> None:
        if path in way:
            circles.append(" -> ".join([*way[way.index(path) :], path]))
            return
        if path in done:
            return
        for other in sorted(graph.get(path, ())):
            # A package's __init__ that gathers its modules is no circle with them unless they import from it.
            walk(other, [*way, path])
        done.add(path)

    for path in sorted(graph):
        walk(path, [])
    return circles


def pure_rooms_are_pure(tree: Tree) -> list[str]:
    """The pure rooms, and what makes figures in others, have no event loop, clock, environment or log."""
    wrong = []
    for path, module in tree.package.items():
        room = room_of(path)
        part = path.removeprefix(f"{room}/").removesuffix(".py")
        parts = PURE_PARTS.get(room, set())
        if room not in PURE and part not in parts:
            continue
        if room not in PURE:
            inside = {
                name.removeprefix(f"farthing.{room}.").replace(".", "/")
                for name, _ in tree.imports(module)
                if name.startswith(f"farthing.{room}.")
            }
            wrong += [f"{path} imports {other}, which is not pure" for other in sorted(inside - parts)]
        for name, line in tree.imports(module):
            top = name.split(".")[0]
            if top in IMPURE and (room, top) not in IMPURE_ALLOWED:
                wrong.append(f"{path}:{line} imports {name}")
        wrong += [
            f"{path}:{node.lineno} reads the clock: {node.func.attr}()"
            for node in _walked(module)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS
        ]
    return wrong


def _own_names(tree: Tree) -> set[str]:
    """Names with one underscore in front that the package itself defines, as attributes, methods, functions, modules."""
    names = set()
    for module in tree.package.values():
        for node in _walked(module):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
            elif isinstance(node, ast.Assign):
                names |= {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return names


def aiokafka_s_insides_are_listed(tree: Tree) -> list[str]:
    """Only the modules named touch aiokafka's private names, and each lists all that it touches at its head."""
    own, wrong = _own_names(tree), []
    for path, module in tree.package.items():
        if room_of(path) != "kafka":
            continue
        head = ast.get_docstring(module) or ""
        for node in _walked(module):
            if not isinstance(node, ast.Attribute) or not re.fullmatch(r"_[a-z]\w*", node.attr) or node.attr in own:
                continue
            if path not in INSIDE_AIOKAFKA:
                wrong.append(f"{path}:{node.lineno} reaches inside aiokafka: {node.attr}")
            elif not re.search(rf"(?<!\w){node.attr}(?!\w)", head):
                wrong.append(f"{path}:{node.lineno} uses {node.attr}, which the module's head does not list")
    return wrong


def _definitions(path: str, module: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Functions, classes, methods and constants that a reader would look for a use of."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and all(ast.unparse(base).split("[")[0] in OWN_BASES for base in node.bases):
            yield from (
                (inner.name, inner) for inner in node.body if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            )
        elif isinstance(node, ast.Assign):
            yield from ((n.id, node) for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node


def _decorators(node: ast.AST) -> set[str]:
    found = set()
    for decorator in getattr(node, "decorator_list", ()):
        at = decorator.func if isinstance(decorator, ast.Call) else decorator
        found.add(at.attr if isinstance(at, ast.Attribute) else getattr(at, "id", ""))
    return found


def nothing_is_there_for_tests_alone(tree: Tree) -> list[str]:
    """Every definition of the package is used by the package, by what runs it, or named in its documents."""
    used: Counter[str] = Counter()
    for module in tree.parsed.values():
        for node in _walked(module):
            if isinstance(node, ast.Name):
                used[node.id] += not isinstance(node.ctx, ast.Store)
            elif isinstance(node, ast.Attribute):
                used[node.attr] += not isinstance(node.ctx, ast.Store)
            elif isinstance(node, ast.keyword) and node.arg:
                used[node.arg] += 1
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                used[node.value] += 1
    for path, text in tree.texts.items():
        if path.endswith(".md"):
            used.update(re.findall(r"\w+", text))
    return [
        f"{path}:{node.lineno} {name} is used by nothing but tests, if at all"
        for path, module in tree.package.items()
        for name, node in _definitions(path, module)
        if not used[name] and not name.startswith("__") and not _decorators(node) & BINDS_BY_DECORATOR
    ]


def every_file_says_what_it_is(tree: Tree) -> list[str]:
    """Every file begins with a docstring whose first line is a sentence."""
    wrong = []
    for path, module in tree.package.items():
        first = (ast.get_docstring(module) or "").split("\n")[0]
        if not re.fullmatch(r"[A-Z`*\"'0-9].*[.:?]", first):
            wrong.append(f"{path} begins with no sentence: {first!r}")
    return wrong


def what_docstrings_name_is_there(tree: Tree) -> list[str]:
    """A module, class, function or file that a docstring refers to exists."""
    names = {name for path, module in tree.package.items() for name, _ in _definitions(path, module)}
    files = {Path(path).name for path in tree.parsed}
    wrong = []
    for path, module in tree.package.items():
        for node in _walked(module):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            text = ast.get_docstring(node) or ""
            where = f"{path}:{getattr(node, 'lineno', 1)}"
            for kind, target in re.findall(r":(mod|func|class|meth|data):`~?([\w.]+)`", text):
                if target.startswith("farthing."):
                    parent, _, leaf = target.rpartition(".")
                    inside = parent.rpartition(".")[0]
                    there = target in tree.modules or (
                        leaf in names and (parent in tree.modules or inside in tree.modules)
                    )
                else:
                    there = kind != "mod" and target.split(".")[-1] in names
                ours = target.split(".")[0] == "farthing" or not importlib.util.find_spec(target.split(".")[0])
                if not there and ours:
                    wrong.append(f"{where} refers to {target}, which is not there")
            wrong += [
                f"{where} names {file}, which is not there"
                for file in re.findall(r"``(?:[\w/]+/)?(\w+\.py)``", text)
                if file not in files and not list((ROOT / "tests").rglob(file))
            ]
    return wrong


def files_have_one_idea(tree: Tree) -> list[str]:
    """No module is longer than a reader can hold, and none is named for nothing."""
    long = [
        f"{path} has {len(text.splitlines())} lines, at most {LONGEST_LINES}"
        for path, text in tree.texts.items()
        if path.startswith(PACKAGE) and path.endswith(".py") and len(text.splitlines()) > LONGEST_LINES
    ]
    nameless = [f"{path} is named for nothing" for path in tree.package if set(re.split(r"[/.]", path)) & NAMELESS]
    return long + nameless


def design_maps_every_room(tree: Tree) -> list[str]:
    """The table in DESIGN.md's section 2 names each room and loose file, and the modules that it names are there."""
    section = tree.texts["service/DESIGN.md"].split("## 2. ")[1].split("## 3. ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    mapped = {name.strip("/"): row[2] for row in rows for name in re.findall(r"`([^`]+)`", row[1])}
    there = {path.split("/")[0] for path in tree.package} - {"__init__.py", "__main__.py"}
    wrong = [f"service/DESIGN.md does not map {name}" for name in sorted(there - set(mapped))]
    wrong += [f"service/DESIGN.md maps {name}, which is not there" for name in sorted(set(mapped) - there)]
    for room, text in mapped.items():
        inside = {path.removeprefix(f"{room}/") for path in tree.package if path.startswith(f"{room}/")}
        known = {room, *(part for path in inside for part in path.removesuffix(".py").split("/"))}
        named = {name.strip("/") for name in re.findall(r"`(\w+/?)`", text)}
        if inside:
            wrong += [f"service/DESIGN.md: {room}/ has no {name}" for name in sorted(named - known)]
    return wrong


RULES = (
    each_library_stays_in_its_room,
    kernels_alone_ask_whether_they_are_compiled,
    imports_point_down,
    no_circle_of_imports,
    pure_rooms_are_pure,
    aiokafka_s_insides_are_listed,
    nothing_is_there_for_tests_alone,
    every_file_says_what_it_is,
    what_docstrings_name_is_there,
    files_have_one_idea,
    design_maps_every_room,
)
