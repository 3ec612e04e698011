import json
import logging
import os
import re
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from doubles import swap
from kit import cli, progress
from kit.config import DataConfig, RunConfig
from kit.settings import WHOLE, from_toml, load_config

ROOT = Path(__file__).parents[1]

# The commands of another distribution: one for each way that a command can end.
OTHER = """
import signal
import time
import typer
from kit.errors import DataError

app = typer.Typer()

@app.command()
def one():
    "The first."
    print("one")

@app.command()
def two():
    "The second."

def wrong(count: int = 1):
    "Meets bad input."
    raise DataError(f"{count} images cannot be read.", "Look at them.")

def crash():
    "Has a defect."
    raise ValueError("a defect")

def lazy():
    "Needs a module when it runs."
    import nowhere_to_be_found

def wait():
    "Waits."
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background has it ignored
    print("waiting", flush=True)
    time.sleep(60)

def flood():
    "Prints and prints."
    while True:
        print("x" * 1000)

def odd():
    "Prints a name that is not UTF-8."
    print("b\\udcff.jpg")

def heavy():
    "Sits in our own name's way."
"""
ENTRIES = """[transferkit.commands]
two-in-one = other:app
wrong = other:wrong
crash = other:crash
lazy = other:lazy
wait = other:wait
flood = other:flood
odd = other:odd
train = other:heavy
broken = other_broken:run
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> dict[str, str]:
    """The environment in which that other distribution is installed."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "other.py").write_text(OTHER)
    (folder / "other_broken.py").write_text("import nowhere_to_be_found")
    metadata = folder / "other-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRIES)
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}


def start(other, name) -> subprocess.Popen:
    command = [sys.executable, "-m", "kit.cli", name]
    return subprocess.Popen(command, env=os.environ | other, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# === Help ===


def test_the_commands_are_those_of_pyproject():
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    assert project["entry-points"][cli.GROUP] == cli.BUILT_IN
    assert (project["name"], project["scripts"]) == (cli.DISTRIBUTION, {"transferkit": "kit.cli:main"})


def test_help_lists_every_command_and_loads_each(run_cli):
    done = run_cli("--help")
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines()]
    assert [name for name in listed if name in cli.BUILT_IN] == list(cli.BUILT_IN)
    assert "cannot be loaded" not in done.stdout


def test_help_imports_nothing_heavy():
    code = "import sys; from kit.cli import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "kit" in loaded
    assert not {"keras", "jax", "tensorflow", "numpy", "pandas", "PIL", "sklearn", "scipy", "h5py"} & loaded


def test_version(run_cli):
    done = run_cli("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("transferkit ")


# === Finding commands ===


def test_another_distribution_adds_commands_and_replaces_none(other, run_cli):
    done = run_cli("--help", env=other)
    assert "Meets bad input." in done.stdout
    assert "Sits in our own name's way." not in done.stdout
    assert run_cli("two-in-one", "one", env=other).stdout == "one\n"
    assert "completion" not in run_cli("two-in-one", "--help", env=other).stdout


def point(name, distribution):
    return SimpleNamespace(name=name, dist=SimpleNamespace(name=distribution))


def test_our_installed_commands_come_first_and_built_in_ones_only_without_them(monkeypatch):
    installed = [point("apple", "other"), point("train", "other"), point("study", "transferkit")]
    swap(monkeypatch, cli, "entry_points", lambda group: [*installed, point("train", "transferkit")])
    found = cli.find_commands()
    assert [(name, entry.dist.name) for name, entry in found.items()] == [
        ("train", "transferkit"),
        ("study", "transferkit"),
        ("apple", "other"),
    ]
    swap(monkeypatch, cli, "entry_points", lambda group: [point("apple", "other")])
    assert list(cli.find_commands()) == [*cli.BUILT_IN, "apple"]


# === How a command ends ===


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["xyz"], "No such command 'xyz'."),
        (["--nonsense"], "--nonsense"),
        (["wrong", "--count", "many"], "--count"),
        ([], "Usage: transferkit"),
    ],
)
def test_wrong_usage_is_status_2(other, run_cli, arguments, complaint):
    done = run_cli(*arguments, env=other)
    assert done.returncode == 2
    assert complaint in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_bad_input_is_two_lines_and_status_2(other, run_cli):
    done = run_cli("wrong", "--count", "3", env=other)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: 3 images cannot be read.\nLook at them.\n"


def test_who_asks_for_json_gets_an_error_as_json_too(run_cli, tmp_path):
    done = run_cli("inspect", tmp_path / "nowhere", "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert "nowhere" in told["error"]
    assert done.stderr == f"error: {told['error']}\n{told['hint']}\n"


def test_a_file_of_all_settings_says_the_defaults_and_what_they_mean(run_cli, tmp_path):
    file = tmp_path / "new" / "run.toml"
    assert run_cli("new", file).returncode == 0
    assert load_config(file=file) == RunConfig()
    text = file.read_text(encoding="utf-8")
    changed = text.replace("# image_size = 224", "image_size = 96")
    file.write_text(changed, encoding="utf-8")
    assert load_config(file=file) == replace(RunConfig(), data=replace(DataConfig(), image_size=96))
    # every setting with its default, once the signs are taken away
    plain = re.sub("^# (?=[a-z_]+ = |\\[)", "", text, flags=re.MULTILINE)
    assert from_toml(plain) == RunConfig()
    assert tomllib.loads(plain).keys() >= WHOLE
    done = run_cli("new", file)
    assert (done.returncode, "is there already" in done.stderr) == (2, True)
    assert file.read_text(encoding="utf-8") == changed


def test_a_defect_keeps_its_traceback(other, run_cli):
    done = run_cli("crash", env=other)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ValueError: a defect\n")


@pytest.mark.parametrize("arguments", [["broken", "any", "--thing"], ["lazy"]])
def test_a_missing_module_is_one_message(other, run_cli, arguments):
    done = run_cli(*arguments, env=other)
    assert done.returncode == 2
    assert done.stderr.startswith("error: The module nowhere_to_be_found is not installed")
    assert "Traceback" not in done.stderr


def test_a_broken_command_does_not_break_help(other, run_cli):
    done = run_cli("--help", env=other)
    assert done.returncode == 0
    assert "(cannot be loaded: No module named 'nowhere_to_be_found')" in " ".join(done.stdout.split())


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_is_one_line_and_status_130(other):
    with start(other, "wait") as process:
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"interrupted\n")
    assert process.returncode == 130


def test_a_closed_pipe_is_no_error_message(other):
    with start(other, "flood") as process:
        assert process.stdout.readline().startswith(b"xxx")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 1


def test_a_name_that_is_not_text_can_be_printed(other):
    with start({**other, "PYTHONIOENCODING": "utf-8"}, "odd") as process:
        assert process.communicate(timeout=30) == (b"b\xff.jpg\n", b"")


def test_messages_are_told_after_others_have_set_logging_up(capsys):
    """As a study's database does in its user's process."""
    logging.getLogger("transferkit").disabled = True
    progress.say("told")
    assert capsys.readouterr().err == "told\n"


def test_the_summary_of_each_command_fits_its_line_and_says_what_it_does(run_cli):
    found = {}
    for words in ((), ("study",), ("cache",)):
        shown = run_cli(*words, "--help", env={"COLUMNS": "80"}).stdout.partition("Commands:\n")[2].splitlines()
        found[words] = {line.split()[0]: line.split(maxsplit=1)[1] for line in shown if line.strip()}
    assert list(found[()]) == list(cli.find_commands())
    assert [
        (*words, name)
        for words, summaries in found.items()
        for name, text in summaries.items()
        if text.endswith("...") or not text.split()[0].rstrip(",").endswith("s")
    ] == []


def test_a_shell_completes_commands_and_options(run_cli):
    def completed(*words):
        asked = {"_TRANSFERKIT_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": len(words) - 1}
        done = run_cli(env=asked)
        assert done.stderr.strip() == ""
        return done.stdout.split()

    assert completed("transferkit", "tr") == ["train"]
    assert completed("transferkit", "study", "s") == ["show", "stop"]
    assert completed("transferkit", "push", "--pr") == ["--private"]
    assert "--version" in completed("transferkit", "trian", "--"), "no error amid what one types"
    assert "--install-completion" in run_cli("--help").stdout


def test_help_says_the_default_of_each_setting(run_cli):
    shown = " ".join(run_cli("train", "--help").stdout.split())
    for said in ("[data.image_size; default: 224]", "[phases.1.epochs; default: 10]", "[data.strict; default: false]"):
        assert said in shown
    assert "[data.corrections; default: none]" in shown


def test_every_option_that_takes_a_value_says_its_default():
    import typer.main

    silent = []
    for words, command in all_commands(typer.main.get_command(cli.app)):
        context = command.make_context(words, [], resilient_parsing=True)
        for param in command.params:
            told = (param.get_help_record(context) or ("", ""))[1]
            takes_a_value = param.param_type_name == "option" and not param.is_flag and not param.multiple
            if takes_a_value and "default: " not in told and "[required]" not in told:
                silent.append(f"{words} {param.opts[0]}")
    assert silent == []


def all_commands(group, words="transferkit"):
    """Every command below a group, with the words that call it."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from all_commands(command, f"{words} {name}")
        else:
            yield f"{words} {name}", command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "nowhere", "--views", "many"), "should be a valid integer"),
        (("predict",), "Missing argument"),
        (("study", "run", "x", "--nonsense"), "No such option: --nonsense"),
        (("trian",), "Did you mean 'train'?"),
    ],
)
def test_a_misspelt_call_is_json_too_where_that_is_asked_for(run_cli, words, said):
    done = run_cli(*words, "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert said in told["error"]
    assert told["hint"].startswith("`transferkit")
    assert said in " ".join(done.stderr.split())
