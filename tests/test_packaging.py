"""What the repository promises about itself: dependencies, citation, API, house rules."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ppn_tf

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "ppn_tf").rglob("*.py"))
SCRIPTS = sorted((ROOT / "reproduce").rglob("*.py"))
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
TITLE = (
    "A Physics-Inspired Deep Learning Framework with Polar Coordinate Attention "
    "for Ptychographic Imaging"
)

each_module = pytest.mark.parametrize(
    "path", MODULES, ids=[path.relative_to(ROOT).as_posix() for path in MODULES]
)


each_script = pytest.mark.parametrize(
    "path", SCRIPTS, ids=[path.relative_to(ROOT).as_posix() for path in SCRIPTS]
)


@pytest.fixture(scope="module")
def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def requirements(text):
    return [Requirement(line) for line in text.strip().splitlines()]


@pytest.fixture(scope="module")
def pins():
    """Exact versions of environment.yml by canonical name, and its other entries."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == "ppn_tf"
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    assert conda == ["python=3.11", "pip"]
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    exact = {}
    for entry in pip[:-1]:
        requirement = Requirement(entry)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", entry
        exact[canonicalize_name(requirement.name)] = specifier.version
    assert pip[-1] == "-e ."
    return exact


def test_environment_pins_what_setup_cfg_asks_for(setup_cfg, pins):
    wanted = requirements(setup_cfg["options"]["install_requires"])
    wanted += requirements(setup_cfg["options.extras_require"]["test"])
    for requirement in wanted:
        (bound,) = requirement.specifier
        assert bound.operator == ">=", f"{requirement}: setup.cfg states lower bounds"
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"environment.yml lacks {requirement.name}"
        assert requirement.specifier.contains(pin), f"{requirement} is pinned to {pin}"
    extra = set(pins) - {canonicalize_name(requirement.name) for requirement in wanted}
    assert not extra, f"environment.yml pins what setup.cfg does not ask for: {extra}"


def test_every_import_of_the_package_is_declared(setup_cfg):
    """Third-party modules that ppn_tf imports, by the name they install under."""
    distributions = {"skimage": "scikit-image", "yaml": "pyyaml"}
    declared = {
        canonicalize_name(requirement.name)
        for requirement in requirements(
            setup_cfg["options"]["install_requires"]
            # imported by what needs it, which says so where it is missing
            + setup_cfg["options.extras_require"]["cluster"]
        )
    }
    for path in MODULES:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            else:
                continue
            for name in {name.split(".")[0] for name in names}:
                if name in sys.stdlib_module_names or name == "ppn_tf":
                    continue
                if name == "jax":  # the optional backend, behind a check of keras.backend
                    continue
                distribution = canonicalize_name(distributions.get(name, name))
                assert distribution in declared, f"{path.name} imports {name}"


def test_every_folder_with_modules_is_a_package():
    for folder in {path.parent for path in MODULES}:
        assert (folder / "__init__.py").is_file(), f"{folder.name} would not be installed"


def test_citation_names_the_paper_and_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == ppn_tf.__version__
    assert citation["license"] == "Apache-2.0"
    assert citation["preferred-citation"]["title"] == TITLE


def test_licence_is_complete(setup_cfg):
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert setup_cfg["metadata"]["license"] == "Apache-2.0"


def test_import_is_light():
    """Neither the package nor its numpy-only modules bring in Keras or a backend."""
    light = ["ppn_tf", "ppn_tf.errors", "ppn_tf.files", "ppn_tf.scaling", "ppn_tf.seeding"]
    light += ["ppn_tf.complexity"]
    code = (
        "import importlib, sys\n"
        f"for name in {light}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'keras', 'tensorflow', 'jax'} & set(sys.modules)\n"
        "    assert not heavy, (name, heavy)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(tree):
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def is_private(name):
    return name.startswith("_")


def public_definitions(tree):
    """Public functions and classes of a module, and methods of its public classes."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not is_private(node.name):
            found.append((node.name, node))
            if isinstance(node, ast.ClassDef):
                found += [
                    (f"{node.name}.{item.name}", item)
                    for item in node.body
                    if isinstance(item, ast.FunctionDef)
                    and (not is_private(item.name) or item.name == "__init__")
                ]
    return found


@each_module
def test_public_api_is_documented_and_typed(path):
    tree = parse(path)
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    for name, node in public_definitions(tree):
        # what a constructor takes is documented with its class
        if not name.endswith(".__init__"):
            assert ast.get_docstring(node), f"{name} has no docstring"
        if isinstance(node, ast.ClassDef):
            continue
        assert node.returns is not None, f"{name} does not say what it returns"
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named += [item for item in (arguments.vararg, arguments.kwarg) if item is not None]
        for argument in named:
            if argument.arg not in ("self", "cls"):
                assert argument.annotation is not None, f"{name}: {argument.arg} has no type"


@each_module
def test_modules_and_functions_are_short(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_MODULE_LINES, f"{path.name} has {lines} lines"
    for node in functions(parse(path)):
        length = node.end_lineno - node.lineno + 1
        assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@each_script
def test_scripts_are_short_and_documented(path):
    assert ast.get_docstring(parse(path)), f"{path.name} has no docstring"
    test_modules_and_functions_are_short(path)


@each_module
def test_library_knows_nothing_of_the_reproduction(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        assert not any(name.split(".")[0] in ("reproduce", "tests", "pickle") for name in names)


@each_module
def test_no_lambda_layers_and_no_pickled_arrays(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Attribute):
            assert node.attr != "Lambda", f"line {node.lineno}: Lambda layer"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            value = node.value
            assert isinstance(value, ast.Constant), f"line {value.lineno}: allow_pickle"
            assert value.value is False, f"line {value.lineno}: allow_pickle"


def repository_files():
    """Files that git tracks or would track; all files where this is no checkout."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if listed.returncode == 0:
            paths = [ROOT / name for name in listed.stdout.split("\0") if name]
            return [path for path in paths if path.is_file()]
    skipped = {"__pycache__", "build", "dist"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(
            part in skipped or part.startswith(".") or part.endswith(".egg-info")
            for part in path.relative_to(ROOT).parts[:-1]
        )
    ]


def test_no_machine_paths_and_no_registry_addresses():
    # joined here, so that this file does not contain what it looks for
    folders = ["".join(("/", name, "/")) for name in ("work", "home", "root", "Users", "opt")]
    addresses = ["".join(parts) for parts in (("index", "-url"), ("pypi", ".org/simple"))]
    forbidden = [item.encode() for item in (*folders, *addresses, "\\".join(("C:", "Users")))]
    for path in repository_files():
        content = path.read_bytes()
        if b"\0" in content[:8192]:
            continue  # not text
        for item in forbidden:
            line = content[: max(content.find(item), 0)].count(b"\n") + 1
            assert item not in content, f"{path.relative_to(ROOT)}, line {line}: {item.decode()}"
