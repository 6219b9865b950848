"""The program: its verbs, its help, its exit codes."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from steerd.cli.main import GROUPS, VERBS, cli


def run(*args):
    return CliRunner().invoke(cli, args)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb):
    result = run(verb, "--help")
    assert result.exit_code == 0, result.output
    text = result.output
    if isinstance(cli.get_command(click.Context(cli), verb), click.Group):
        assert "Commands:" in text
    else:
        assert "Example" in text
        assert f"steerd {verb}" in text
    assert "\\b" not in text, "click wants the character: a docstring without the r prefix"
    assert max(len(line) for line in text.splitlines()) <= 100


def test_help_groups_all_verbs():
    text = run("--help").output
    assert run("-h").output == text
    places = [text.index(f"{heading}:") for heading in GROUPS]
    assert places == sorted(places)
    for verb in VERBS:
        assert f"\n  {verb} " in text


def test_no_arguments_shows_help():
    result = run()
    assert "Usage:" in result.output
    assert result.exit_code == 2


@pytest.mark.parametrize(("word", "near"), [("drian", "`drain`"), ("stat", "`status`"), ("xyzzy", "--help")])
def test_an_unknown_verb_names_the_nearest(word, near):
    result = run(word)
    assert result.exit_code == 2
    assert near in result.output


@pytest.mark.parametrize(
    "args",
    [
        ("drain", "z1"),
        ("drain",),
        ("drain", "z1", "--reason", "x", "--for", "soon"),
        ("pin", "z1", "150%", "--reason", "x"),
        ("pin", "z1", "much", "--reason", "x"),
        ("freeze",),
        ("freeze", "--reason", " "),
        ("history", "--since", "yesterday"),
        ("history", "--limit", "0"),
        ("status", "--nope"),
        ("status", "--url", "ftp://x"),
        ("status", "--url", "http://h:99999"),
        ("status", "--url", "http://h", "--socket", "/s"),
        ("status", "--url", "http://h", "--token-file", "/does/not/exist"),
        ("run",),
        ("run", "--config", "/does/not/exist.yaml"),
        ("agent", "--config", "/does/not/exist.yaml"),
    ],
)
def test_bad_input_is_exit_2_with_one_message(args):
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert "Error: " in result.output
    assert "Traceback" not in result.output


PROBE = """
import sys
from steerd.cli.main import cli
try:
    cli.main(%r, prog_name="steerd", standalone_mode=True)
except SystemExit:
    pass
print(sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""
HEAVY = {"aiohttp", "opentelemetry", "yaml", "msgspec", "dns", "uvloop", "asyncio", "probes", "sqlite3", "cryptography"}


@pytest.mark.parametrize(
    "args", [["status"], ["drain", "z1", "--reason", "x"], ["--help"], ["explain", "z1", "--json"]]
)
def test_a_verb_starts_without_what_it_does_not_need(args):
    done = subprocess.run([sys.executable, "-c", PROBE % args], capture_output=True, text=True, timeout=30, check=True)
    loaded = set(eval(done.stderr.splitlines()[-1]))
    assert not loaded & HEAVY, loaded & HEAVY
    assert ("rich" in loaded) == (args != ["--help"])
