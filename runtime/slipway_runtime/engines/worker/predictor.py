"""The worker's side of a batch: inputs as they lie in shared memory, outputs written there once."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Final

from slipway_runtime.engines.cudamemory import CudaMemory, cuda_memory
from slipway_runtime.engines.worker.faults import encode_fault
from slipway_runtime.engines.worker.region import Place, Region, plan
from slipway_runtime.engines.worker.wire import BrokenMessageError, Channel, Done, Message, Need, Room, Run
from slipway_runtime.models.borrowing import are_held, forget_frames
from slipway_runtime.models.datatypes import Array
from slipway_runtime.models.model import Model, OutputError, PredictionError, RowsFailedError

_CUDA_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


class GatewayGoneError(Exception):
    """Nobody waits for an answer any more."""


class Predictor:
    """Runs one batch after the other, and keeps the regions that batches come in."""

    def __init__(self, model: Model, channel: Channel) -> None:
        self._model = model
        self._channel = channel
        self._regions: dict[int, Region] = {}
        self._cuda_due = 0.0
        self._early: deque[tuple[Message, list[int]]] = deque()
        """What came while an answer to `Need` was waited for."""
        self._copies = False
        """The model kept what it was lent once, so it gets copies."""

    @property
    def behind(self) -> bool:
        """Whether a message waits here already."""
        return bool(self._early)

    def next(self) -> tuple[Message, list[int]] | None:
        """The next message and its descriptors; None when the gateway is gone."""
        return self._early.popleft() if self._early else self._channel.receive()

    def forget(self, identities: Sequence[int]) -> None:
        for identity in identities:
            self._regions.pop(identity, None)

    def run(self, message: Run, descriptors: Sequence[int]) -> None:
        """Sends `Done`, whatever the model does, unless it ends the process."""
        self._learn(message.regions, descriptors)
        region = self._regions[message.inputs]
        inputs = {place.name: region.view(place) for place in message.places}
        if self._copies:
            inputs = {name: array.copy() for name, array in inputs.items()}
        begun = perf_counter()
        outputs, error = self._predict(inputs, message.limit_seconds)
        seconds = perf_counter() - begun
        places: Sequence[Place] = ()
        if outputs:
            try:
                places = self._write(message, outputs)
            except (ValueError, TypeError, AttributeError, OSError) as cause:
                error = OutputError(f"The model's outputs cannot be handed on: {cause}")
        fault = None
        if error is not None:
            fault = encode_fault(error)
            forget_frames(error)
        del outputs, error
        kept = not self._copies and are_held(inputs)
        if kept:
            log.info("The model keeps its inputs beyond the call, so it gets copies of them from now on")
            self._copies = True
        self._channel.send(Done(message.sequence, seconds, places, fault, self._cuda(begun), kept))

    def _cuda(self, now: float) -> CudaMemory | None:
        """Once a second, as it takes its time."""
        if now < self._cuda_due:
            return None
        self._cuda_due = now + _CUDA_SECONDS
        return cuda_memory()

    def _predict(
        self, inputs: Mapping[str, Array], limit_seconds: float
    ) -> tuple[Mapping[str, Array], PredictionError | None]:
        try:
            return self._model.predict(inputs, limit_seconds=limit_seconds), None
        except RowsFailedError as error:
            return error.outputs, error
        except PredictionError as error:
            return {}, error
        except BaseException as error:
            log.exception("The model raised what is no prediction error")
            return {}, PredictionError(f"{type(error).__name__}: {error}")

    def _write(self, message: Run, outputs: Mapping[str, Array]) -> Sequence[Place]:
        places, contents, size_bytes = plan(outputs)
        region = self._regions[message.outputs]
        if size_bytes > region.size_bytes:
            region = self._ask_for_room(message.sequence, size_bytes)
        region.write(places, contents)
        return places

    def _ask_for_room(self, sequence: int, size_bytes: int) -> Region:
        self._channel.send(Need(sequence, size_bytes))
        while (received := self._channel.receive()) is not None:
            message, descriptors = received
            if isinstance(message, Room):
                self._learn(message.regions, descriptors)
                return self._regions[message.outputs]
            self._early.append(received)
        raise GatewayGoneError

    def _learn(self, regions: Sequence[tuple[int, int]], descriptors: Sequence[int]) -> None:
        if len(regions) != len(descriptors):
            for descriptor in descriptors:
                os.close(descriptor)
            raise BrokenMessageError(f"{len(descriptors)} descriptors for {len(regions)} regions")
        for (identity, size_bytes), descriptor in zip(regions, descriptors, strict=True):
            self._regions[identity] = Region(descriptor, size_bytes)
