"""A runtime of MLServer for tests: y = 2x, told by its settings' `extra` to do otherwise. Runs in the engines' own Python."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Doubler(MLModel):
    """`extra`: `factor` of the answer (nan is possible), `work_s` for each, `gate`: a file that holds up loading while it is
    there."""

    @property
    def _extra(self) -> dict[str, Any]:
        parameters = self.settings.parameters
        return (parameters.extra if parameters is not None else None) or {}

    async def load(self) -> bool:
        await asyncio.to_thread(self._wait)
        return True

    def _wait(self) -> None:
        while Path(self._extra["gate"]).exists():
            threading.Event().wait(0.02)

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        time.sleep(float(self._extra["work_s"]))  # noqa: ASYNC251 - work, which holds up its worker
        values = NumpyCodec.decode_input(payload.inputs[0]) * np.float32(self._extra["factor"])
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", values)])
