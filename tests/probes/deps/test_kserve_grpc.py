"""`kserve-grpc` against a real gRPC server whose messages the protobuf library writes and reads."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.deps import oip
from probes.deps.protobuf import varint
from probes.errors import SettingError
from probes.outcome import Layer, Status
from probes.registry import make
from tests.support.looking import Look
from tests.support.oip_server import OipServer, message

INPUTS = [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4.5]]}]
INFER = {"ask": "infer", "inputs": INPUTS}


async def doubled(request: Any, _: grpc.aio.ServicerContext) -> Any:
    outputs = [
        message(
            "Tensor",
            name="y",
            datatype=one.datatype,
            shape=list(one.shape),
            contents=message("Contents", fp32_contents=[2 * value for value in one.contents.fp32_contents]),
        )
        for one in request.inputs
    ]
    return message("Response", model_name=request.model_name, outputs=outputs)


@pytest.fixture
async def server() -> AsyncIterator[OipServer]:
    one = OipServer(doubled)
    await one.server.start()
    yield one
    await one.server.stop(None)


async def test_live_ready_and_the_model(look: Look, server: OipServer) -> None:
    for ask, method, reason in (
        ("live", "ServerLive", "it says it is not live"),
        ("ready", "ServerReady", "it says it is not ready"),
        ("model", "ModelReady", "model not ready"),
    ):
        outcome = await look("kserve-grpc", server.url, {"ask": ask}, model="m")
        assert outcome.status is Status.PASS, outcome
        server.words[method] = False
        outcome = await look("kserve-grpc", server.url, {"ask": ask}, model="m")
        assert (outcome.status, outcome.reason) == (Status.FAIL, reason), outcome
    missing = await look("kserve-grpc", server.url, {"ask": "model", "model": "other"})
    assert (missing.status, missing.reason) == (Status.FAIL, "model not found"), missing
    unnamed = await look("kserve-grpc", server.url, {"ask": "model"})
    assert (unnamed.status, "model's id" in (unnamed.reason or "")) == (Status.ERROR, True), unnamed


async def test_an_inference_comes_back_whole(look: Look, server: OipServer) -> None:
    outcome = await look("kserve-grpc", server.url, INFER, model="m", layer="user_path")
    assert outcome.status is Status.PASS, outcome
    assert outcome.readings["infer_s"] > 0
    met = {**INFER, "json": {"path": "outputs.0.data.3", "equals": 9}}
    assert (await look("kserve-grpc", server.url, met, model="m")).status is Status.PASS
    unmet = {**INFER, "json": {"path": "outputs.0.data.3", "equals": 8}}
    outcome = await look("kserve-grpc", server.url, unmet, model="m")
    assert (outcome.status, outcome.reason, outcome.layer) == (Status.FAIL, "wrong answer", Layer.CORRECTNESS), outcome


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({}, "answer has no outputs"),
        ({"outputs": [("FP32", [3], {"fp32_contents": [1, 2]})]}, "output is not as long as its shape says"),
        ({"outputs": [("FP32", [1], {"fp32_contents": [float("nan")]})]}, "output has values that are no numbers"),
        ({"outputs": [("FP32", [2], {})], "raw": [struct.pack("<2f", 1, 2)]}, None),
        ({"outputs": [("FP32", [1], {})], "raw": [struct.pack("<f", float("inf"))]}, "output has values that are no"),
        ({"outputs": [("FP32", [1], {})], "raw": [b"123"]}, "malformed answer"),
        ({"outputs": [("FP32", [1], {})], "raw": [b"1234", b"1234"]}, "malformed answer"),
        ({"outputs": [("FP16", [2], {})], "raw": [struct.pack("<2e", 1, 2)]}, None),
        ({"outputs": [("BF16", [2], {})], "raw": [b"\x80\x3f\x00\x40"]}, None),
        ({"outputs": [("BYTES", [2], {})], "raw": [b"\x02\0\0\0ab\0\0\0\0"]}, None),
        ({"outputs": [("BYTES", [1], {})], "raw": [b"\x09\0\0\0ab"]}, "malformed answer"),
        ({"outputs": [("INT64", [2], {"int64_contents": [-1, 2**62]})]}, None),
        ({"outputs": [("UINT64", [1], {"uint64_contents": [2**64 - 1]})]}, None),
        ({"outputs": [("BOOL", [2], {"bool_contents": [True, False]})]}, None),
    ],
)
async def test_what_an_answer_may_be(look: Look, server: OipServer, answer: dict[str, Any], reason: str | None) -> None:
    async def infer(*_: object) -> Any:
        outputs = [
            message("Tensor", name="y", datatype=datatype, shape=shape, contents=message("Contents", **contents))
            for datatype, shape, contents in answer.get("outputs", ())
        ]
        return message("Response", outputs=outputs, raw_output_contents=answer.get("raw", ()))

    server.infer = infer
    outcome = await look("kserve-grpc", server.url, INFER, model="m", layer="user_path")
    assert outcome.status is (Status.PASS if reason is None else Status.FAIL), outcome
    assert reason is None or (outcome.reason or "").startswith(reason), outcome


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Status.SATURATED),
        (grpc.StatusCode.INVALID_ARGUMENT, Status.ERROR),
        (grpc.StatusCode.UNAUTHENTICATED, Status.ERROR),
        (grpc.StatusCode.INTERNAL, Status.FAIL),
    ],
)
async def test_what_a_refusal_means(look: Look, server: OipServer, code: grpc.StatusCode, status: Status) -> None:
    async def infer(_: object, context: grpc.aio.ServicerContext) -> Any:
        await context.abort(code, "no")

    server.infer = infer
    outcome = await look("kserve-grpc", server.url, INFER, model="m", layer="user_path")
    assert outcome.status is status, outcome


async def test_another_server_blames_nobody(look: Look) -> None:
    other = grpc.aio.server()
    port = other.add_insecure_port("127.0.0.1:0")
    await other.start()
    outcome = await look("kserve-grpc", f"grpc://127.0.0.1:{port}")
    assert outcome.status is Status.ERROR, outcome
    assert "open inference protocol" in (outcome.reason or "")
    await other.stop(None)


async def test_a_key_and_metadata_go_along(look: Look, server: OipServer) -> None:
    settings = {"api_key": "hush-hush", "headers": {"X-Tenant": "a"}}
    assert (await look("kserve-grpc", server.url, settings, resolve=str)).status is Status.PASS
    assert server.metadata["authorization"] == "Bearer hush-hush"
    assert server.metadata["x-tenant"] == "a"
    assert server.metadata["x-steerd-probe"].startswith("liveness/")


@pytest.mark.parametrize(
    ("settings", "needle"),
    [
        ({"ask": "infer"}, "inputs"),
        ({"inputs": INPUTS}, "inputs"),
        ({"ask": "models"}, "ask"),
        ({"json": {"path": "a", "equals": 1}}, "json"),
        ({"ask": "infer", "inputs": [{**INPUTS[0], "datatype": "FP8"}]}, "FP8"),
        ({"ask": "infer", "inputs": [{**INPUTS[0], "data": ["a"]}]}, "FP32"),
        ({"ask": "infer", "inputs": [{**INPUTS[0], "shape": ["2"]}]}, "shape"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], needle: str) -> None:
    with pytest.raises(SettingError, match=needle):
        make("kserve-grpc", "readiness", settings, str)


@pytest.mark.parametrize(
    ("datatype", "field", "data"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("UINT32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("FP64", "fp64_contents", [0.1, -2.5]),
        ("BYTES", "bytes_contents", ["", "gr\u00fc\u00df"]),
    ],
)
def test_tensors_arrive_as_they_are_meant(datatype: str, field: str, data: list[Any]) -> None:
    one = {"name": "x", "shape": [2], "datatype": datatype, "data": data}
    read = type(message("Request")).FromString(oip.request_infer("m", [one]))
    assert (read.model_name, read.inputs[0].name, list(read.inputs[0].shape)) == ("m", "x", [2])
    wanted = [value.encode() for value in data] if datatype == "BYTES" else data
    assert list(getattr(read.inputs[0].contents, field)) == wanted


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_value_error(data: bytes) -> None:
    for read in (oip.ready, oip.response_infer):
        try:
            read(data)
        except ValueError:
            continue


@given(st.integers(-(2**63), 2**64 - 1))
def test_numbers_are_at_most_ten_bytes(number: int) -> None:
    assert 1 <= len(varint(number)) <= 10
