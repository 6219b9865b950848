"""Endpoints of a service: inline, or from a CSV or YAML file of their own."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from steerd.config.layout_service import ENDPOINTS
from steerd.config.nodes import MAX_BYTES, Entry, Mapping, Node, Scalar, compose
from steerd.config.problems import Mark, Problems, nearest, quote
from steerd.config.specs import BAD
from steerd.config.tables import Section
from steerd.config.topology import Build, url_key
from steerd.model.fleet import Endpoint

__all__ = ["build_endpoints", "read_text"]

CSV_COLUMNS = ("name", "zone", "url", "public_url", "address", "address6", "capacity")


def read_text(path: Path, mark: Mark, problems: Problems) -> str | None:
    """A file's text, or None with a problem at `mark`. Reads no more than the limit."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        # ValueError: a path with a null byte.
        reason = getattr(error, "strerror", None) or str(error)
        problems.add(mark, f"cannot read {quote(str(path), 200)}: {reason}")
        return None
    if len(data) > MAX_BYTES:
        problems.add(mark, f"{quote(str(path), 200)} is over {MAX_BYTES // 2**20} MiB: split it")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        problems.add(Mark(str(path), line, column), "not UTF-8: save the file as UTF-8")
        return None


def build_endpoints(build: Build, service: str, section: Section) -> tuple[Endpoint, ...]:
    """The service's endpoints that are whole; problems of the rest are noted."""
    given = section.get("endpoints")
    if isinstance(given, Scalar):
        given = _from_file(build, given)
    if not isinstance(given, Section):
        return ()
    wants_capacity = section.given("demand") or any(isinstance(s, Section) and s.given("capacity") for _, s in given)
    found: list[Endpoint] = []
    urls: dict[str, str] = {}
    for name, one in given:
        mark = given.key_mark(name)
        build.claim(name, "endpoint", mark)
        zone, url = one.get("zone"), one.get("url")
        if zone is not None and zone not in build.zone_region:
            if build.whole:
                hint = nearest(zone, build.zone_region)
                build.problems.add(one.mark("zone"), f"there is no zone {quote(zone)} in `regions`{hint}")
            zone = None
        if wants_capacity and not one.given("capacity"):
            build.problems.add(
                mark, f"endpoint {quote(name)} has no `capacity`, in the same unit as `demand` and the others'"
            )
        if url is not None:
            other = urls.setdefault(url_key(url), name)
            if other != name:
                build.problems.add(
                    one.mark("url"), f"endpoint {quote(other)} has this URL too: one URL stands once in a service"
                )
        if zone is not None and url is not None:
            found.append(
                Endpoint(
                    name=name,
                    service=service,
                    zone=zone,
                    url=url,
                    capacity=float(one.get("capacity", 1.0)),
                    address=one.get("address"),
                    address6=one.get("address6"),
                    public_url=one.get("public_url"),
                )
            )
    return tuple(found)


def _from_file(build: Build, reference: Scalar) -> Section | None:
    path = build.base / reference.text
    build.files.append(path)
    text = read_text(path, reference.mark, build.problems)
    if text is None:
        return None
    suffix = path.suffix.lower()
    if suffix == ".csv":
        node: Node | None = _csv_nodes(text, str(path), build.problems)
    elif suffix in {".yaml", ".yml"}:
        node = compose(text, str(path), build.problems)
    else:
        build.problems.add(reference.mark, f"{quote(reference.text)} is neither .csv nor .yaml")
        return None
    if node is None:
        return None
    if isinstance(node, Mapping) and "file" in node.entries:
        build.problems.add(
            node.entries["file"].mark, "a file of endpoints cannot name another file: write NAME: {zone: ..., url: ...}"
        )
        return None
    value = ENDPOINTS.read(node, build.problems)
    return value if value is not BAD and isinstance(value, Section) else None


def _csv_nodes(text: str, file: str, problems: Problems) -> Mapping | None:
    """A CSV with a header as the nodes of the same endpoints in YAML. Columns in messages are exact while nothing is quoted."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    top = Mapping(Mark(file, 1, 1))
    header: list[str] | None = None
    line = 1
    try:
        for row in reader:
            start, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = [cell.strip() for cell in row]
                if not _good_header(header, file, start, problems):
                    return None
                continue
            _csv_row(top, header, row, Mark(file, start, 1), problems)
    except csv.Error as error:
        problems.add(Mark(file, line, 1), f"not valid CSV: {error}")
        return None
    if header is None:
        problems.add(Mark(file, 1, 1), f"the file is empty: start with the header {','.join(CSV_COLUMNS)}")
        return None
    return top


def _good_header(header: list[str], file: str, line: int, problems: Problems) -> bool:
    column, good = 1, True
    for cell in header:
        if cell not in CSV_COLUMNS:
            problems.add(Mark(file, line, column), f"unknown column {quote(cell)}{nearest(cell, CSV_COLUMNS)}")
            good = False
        column += len(cell) + 1
    for needed in ("name", "zone", "url"):
        if needed not in header:
            problems.add(Mark(file, line, 1), f"column {needed!r} is missing: the header is {','.join(CSV_COLUMNS)}")
            good = False
    if len(set(header)) != len(header):
        problems.add(Mark(file, line, 1), "a column stands twice in the header")
        good = False
    return good


def _csv_row(top: Mapping, header: list[str], row: list[str], mark: Mark, problems: Problems) -> None:
    if len(row) > len(header):
        problems.add(mark, f"{len(row)} cells where the header has {len(header)}")
        return
    node = Mapping(mark)
    name, column = "", 1
    for key, cell in zip(header, row, strict=False):
        place = Mark(mark.file, mark.line, column)
        column += len(cell) + 1
        if key == "name":
            name = cell.strip()
        elif cell.strip():
            node.entries[key] = Entry(place, Scalar(place, cell.strip(), plain=False))
    if name in top.entries:
        problems.add(mark, f"endpoint {quote(name)} stands twice (first on line {top.entries[name].mark.line})")
        return
    top.entries[name] = Entry(mark, node)
