"""Coverage-guided fuzzing of everything that reads what a target said: answers on the wire, streams, metrics text, JSON, a
command's outcome.

    pip install atheris
    python fuzz/fuzz_answers.py -max_total_time=60

A crash is any exception that the reader does not document, or a reader that keeps more than it may. Atheris is not among the test
dependencies: `tests/probes/test_hostile_paths.py` fuzzes whole looks with hypothesis in every run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

with atheris.instrument_imports(include=["probes"]):
    from probes.answer import Prompt, wrong
    from probes.chat_stream import ChatStream, GrammarError
    from probes.engine_metrics import EngineMetrics, scrape_of
    from probes.exec_probe import problem_of
    from probes.json_path import BadJsonError, conditions_of, parse, values_at
    from probes.movement import Movement
    from probes.redact import clean
    from probes.sse import EventStream, TooLongError
    from probes.target import Target
    from probes.wire.answer import HEAD_LIMIT, QuickParser, Reader

TARGET = Target("e1", "http://e1", model="m")
METRICS = EngineMetrics.of(
    {"running": "a", "waiting": "b", "steps": ("c", "d"), "version": {"metric": "a", "label": "v"}}
)
CONDITIONS = conditions_of(
    [{"path": "a.*.b", "contains": "$model"}, {"each": "a", "of": {"n": "$model"}, "path": "x", "at_least": "y"}]
)


QUICK = QuickParser()
BODY_LIMIT = 1000


def read(data: bytes, step: int, *, bodiless: bool) -> tuple[int, int, bytes]:
    """Status (0 for none), bytes taken and body of one answer in pieces of `step` bytes, to the connection's end."""
    reader, taken = Reader(BODY_LIMIT, bodiless=bodiless), 0
    for at in range(0, len(data), step):
        taken += step
        if reader.feed(data[at : at + step]):
            break
    fault = reader.fault if reader.done or reader.fault is not None else reader.closed()
    if fault is not None:
        return 0, taken, b""
    answer = reader.answer()
    assert len(answer.body) <= BODY_LIMIT
    assert sum(len(name) + len(value) for name, value in answer.headers.items()) <= HEAD_LIMIT
    return answer.status, taken, answer.body


def answer(data: bytes, *, bodiless: bool) -> None:
    """An answer: the same however it is cut, and what the quick parser says of it is what a reader finds."""
    whole, pieces = read(data, max(1, len(data)), bodiless=bodiless), read(data, 7, bodiless=bodiless)
    if whole[0] and pieces[0]:
        assert (whole[0], whole[2]) == (pieces[0], pieces[2])
    if not bodiless:
        quick = QUICK.status_of(data)
        assert quick == QUICK.status_of(data) == QuickParser().status_of(data)
        assert quick[0] in (0, whole[0])


def stream(data: bytes, *, plain: bool) -> None:
    """A stream in pieces, to its end, and the judgement of what it said."""
    events, said = EventStream(max_line=4096, max_bytes=16384), ChatStream(plain=plain)
    try:
        for at in range(0, len(data), 7):
            for event in events.feed(data[at : at + 7]):
                said.take(event)
        for event in events.end():
            said.take(event)
        said.end()
    except (GrammarError, TooLongError):
        return
    wrong(Prompt("what?"), said)
    assert len(said.text) <= 16384


def metrics(data: bytes) -> None:
    """Two scrapes of the same text: a counter that stands still is never taken for one that moved."""
    movement = Movement(60.0, 60.0)
    for at in (1.0, 2.0):
        reader = METRICS.reader()
        reader.feed(data)
        reader.end()
        movement.take(scrape_of(METRICS, reader, at=at, wall=at, model="m").reading)


def document(data: bytes) -> None:
    """JSON, conditions on it, and a command's outcome."""
    try:
        found = parse(data)
    except BadJsonError:
        return
    for condition in CONDITIONS:
        condition.unmet(found, TARGET)
    assert len(list(values_at(found, "*.*"))) <= 10_000
    problem_of(found)


def one_input(data: bytes) -> None:
    """The first byte chooses the reader."""
    if not data:
        return
    which, rest = data[0] % 6, data[1:]
    if which == 0:
        stream(rest, plain=False)
    elif which == 1:
        stream(rest, plain=True)
    elif which == 2:
        metrics(rest)
    elif which < 5:
        answer(rest, bodiless=which == 4)
    else:
        document(rest)
    assert len(clean(rest.decode("utf-8", "replace"), 160)) <= 160


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
