"""The steps of a chunk on a GPU: captured once, and replayed without Python.

Launching the kernels of a small network takes longer than they run. A CUDA graph of all
steps of a chunk is launched at once. It reads and writes the same memory in every replay,
so what comes with a chunk is copied there before: rows, masks and weights, and the numbers
that change from step to step, which the steps work out on the host by
:mod:`sksharp.optim._tape`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from ..optim._base import LightOptimizer, Wrapper
from ..optim._models import Hyperparameter
from ..optim._tape import Tape
from ._bridge import to_device
from ._chunk import Chunk
from ._device import captures_graphs
from ._epoch import Trace, new_trace
from ._learning_rate import Rates
from ._networks import Networks
from ._step import StepHooks, Steps

# Multiply-adds of a layer's products, for the rows of a step and all networks, from which
# on steps are not captured. There are six such products in a step with an ascent. A GPU
# of some 10^13 multiply-adds a second is busy with these longer than Python is with the
# fifty launches of the step, a few hundred microseconds.
WORK_OF_LAUNCHES = 2**30

# Kinds of steps of a training that may become graphs. By an interval they alternate, and
# every order of them in a chunk is a kind. Those of a training with more are launched.
MAX_KINDS = 32


class Graph(Protocol):
    """Kernels that are captured once and can be replayed."""

    def capture(self) -> contextlib.AbstractContextManager[object]:
        """Return a context whose kernels are captured, and not run."""

    def replay(self) -> None:
        """Run the kernels that were captured."""


NewGraph: TypeAlias = Callable[[], Graph]


# torch captures one graph at a time in a process
_one_capture = threading.Lock()


class CudaGraph:
    """A graph of the kernels of the current stream."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()

    @contextlib.contextmanager
    def capture(self) -> Iterator[None]:
        """Context whose kernels are captured, and not run.

        Raises
        ------
        RuntimeError
            If the current stream is the default one, or the device refuses.
        """
        stream = torch.cuda.current_stream()
        # torch refuses too late: its generator would stay in the capture
        if stream == torch.cuda.default_stream():
            raise RuntimeError("the default stream captures nothing")
        # what other threads do meanwhile does no harm, unless they capture too
        with (
            _one_capture,
            torch.cuda.graph(
                self._graph, stream=stream, capture_error_mode="thread_local"
            ),
        ):
            yield

    def replay(self) -> None:
        """Run the kernels that were captured."""
        self._graph.replay()


def graph_of_device(device: torch.device) -> NewGraph | None:
    """Return what makes graphs on a device, None if nothing does."""
    return CudaGraph if captures_graphs(device) else None


def graphs_for(networks: Networks, hooks: StepHooks | None) -> NewGraph | None:
    """Return what makes graphs of the steps of networks, None if they are launched.

    Callbacks run Python between the kernels, processes exchange gradients there, and
    sparse rows have another shape in every minibatch.
    """
    job = networks.job
    n_numbers = job.settings.batch_size * networks.module.flat.numel()
    if (
        hooks is not None
        or networks.ranks is not None
        or hasattr(job.X, "tocsr")
        or n_numbers >= WORK_OF_LAUNCHES
        or not is_capturable(networks.optimizer)
    ):
        return None
    return graph_of_device(networks.device)


def is_capturable(optimizer: Any) -> bool:
    """Return whether the class of an optimizer, and those it wraps, say so themselves.

    What they derive from may say so and they may count in another way.
    """
    if not vars(type(optimizer)).get("capturable", False):
        return False
    return not isinstance(optimizer, Wrapper) or is_capturable(optimizer.base_optimizer)


class StepGraphs:
    """Trains on chunks, by a replay where their steps were captured.

    Steps of a new kind are launched: that makes the memory and the state which steps of
    this kind use from then on. When they come again they are captured, and replayed. If a
    capture fails, all steps that follow are launched.

    Parameters
    ----------
    networks : Networks
        The networks that are trained.

    rates : Rates
        Their learning rates.

    hooks : StepHooks or None, default=None
        Callbacks of a single network.

    new_graph : callable or None, default=None
        Makes a graph. None to launch all steps.

    Attributes
    ----------
    n_replays : int
        How many chunks were replayed.

    failure : str or None
        Why a capture failed, None if none did.
    """

    def __init__(
        self,
        networks: Networks,
        rates: Rates,
        hooks: StepHooks | None = None,
        new_graph: NewGraph | None = None,
    ) -> None:
        self.networks, self.new_graph = networks, new_graph
        self.steps = Steps(networks, rates, hooks)
        self._programs: dict[Any, list[Program]] = {}
        self._n_left = MAX_KINDS
        self.n_replays = 0
        self.failure: str | None = None

    def __call__(self, chunk: Chunk, lrs: Sequence[Hyperparameter] | None) -> Trace:
        """Train on a chunk and return what its steps leave, until the next call.

        Parameters
        ----------
        chunk : Chunk
            The minibatches.

        lrs : sequence of float or of Tensor of shape (n_models,), or None
            Learning rate of every step, None to leave it.
        """
        if self.new_graph is None:
            return self._launch(chunk, lrs)
        programs = self._programs.setdefault((chunk.kind, lrs is None), [])
        for program in programs:
            numbers = program.play(lrs)
            if numbers is not None:
                return self._replay(program, numbers, chunk)
        if not self._n_left:
            return self._launch(chunk, lrs)
        self._n_left -= 1
        program = Program(self.networks, lrs)
        with program.tape.recording():
            trace = self._launch(chunk, program.lrs)
        programs.append(program)
        return trace

    def _launch(self, chunk: Chunk, lrs: Sequence[Hyperparameter] | None) -> Trace:
        trace = new_trace(self.networks.gradient, chunk)
        if self.networks.ranks is not None:
            trace.y_pred.zero_()  # the rows of the others
        self.steps(chunk, trace, lrs)
        return trace

    def _replay(
        self, program: Program, numbers: list[float] | None, chunk: Chunk
    ) -> Trace:
        """Train on a chunk by a program that was played for it."""
        assert self.new_graph is not None
        if program.captured is None:
            program.tape.rewind()
            try:
                program.capture(self.steps, chunk, self.new_graph())
            except Exception as error:  # the device's: one of the steps comes again
                self.new_graph, self.failure = None, f"{type(error).__name__}: {error}"
                self._programs.clear()
                return self._launch(chunk, program.lrs)
            numbers = program.play(program.lrs)
        assert numbers is not None
        self.n_replays += 1
        return program.replay(numbers, chunk)


@dataclass(frozen=True)
class Captured:
    """A graph of steps, and the memory that it reads and writes.

    Parameters
    ----------
    graph : Graph
        The kernels.

    chunk : Chunk
        Whose minibatches they read.

    trace : Trace
        What they leave for the loss.

    kept : Kept
        What they read and write of optimizer and average.
    """

    graph: Graph
    chunk: Chunk
    trace: Trace
    kept: Kept


class Program:
    """The steps of a chunk, noted when they were launched and captured later.

    Parameters
    ----------
    networks : Networks
        The networks that are trained.

    lrs : sequence of float or of Tensor of shape (n_models,), or None
        Learning rate of every step, None to leave it.

    Attributes
    ----------
    tape : Tape
        What the steps work out on the host.

    lrs : list or None
        Where they read their learning rates.

    captured : Captured or None
        Their graph, None before it was captured.
    """

    def __init__(
        self, networks: Networks, lrs: Sequence[Hyperparameter] | None
    ) -> None:
        self.networks, self.tape = networks, Tape()
        self.lrs = None if lrs is None else list(lrs)
        self.captured: Captured | None = None
        self._weights = networks.module.flat.detach()
        self._largest = torch.finfo(self._weights.dtype).max

    def play(self, lrs: Sequence[Hyperparameter] | None) -> list[float] | None:
        """Do on the host what the steps do, and return the numbers for their kernels.

        None if these are not the steps of this program. The host is then as before.
        """
        captured = self.captured
        if captured is not None and not captured.kept.is_in_place(self.tape):
            return None
        if lrs is not None and self.lrs is not None:
            self.lrs[:] = lrs
        return self.tape.play(self._largest)

    def capture(self, steps: Steps, chunk: Chunk, graph: Graph) -> None:
        """Capture the steps. Weights, state and counts are as before."""
        self.tape.allocate(self._weights)
        kept, chunk = Kept(self.networks), chunk.copy()
        trace = new_trace(self.networks.gradient, chunk)
        try:
            with graph.capture(), self.tape.lending():
                steps(chunk, trace, self.lrs)
                kept.carry_over(self.tape)
        finally:
            kept.restore()
        self.captured = Captured(graph, chunk, trace, kept)

    def replay(self, numbers: list[float], chunk: Chunk) -> Trace:
        """Train on a chunk, after :meth:`play`."""
        captured, memory = self.captured, self.tape.numbers
        assert captured is not None
        assert memory is not None
        try:
            if numbers:
                # rounded once, as kernels round a number that they are given
                values = torch.tensor(numbers, dtype=torch.float64).to(memory.dtype)
                memory.copy_(to_device(values, memory.device))
            captured.chunk.copy_from(chunk)
        except BaseException:  # the user's interrupt, for one
            self.tape.rewind()
            raise
        captured.graph.replay()
        trace = captured.trace
        norms = None if trace.norms is None else trace.norms.clone()
        return Trace(trace.y_pred, norms, trace.is_of_model)


class Kept:
    """What optimizer and average keep from step to step, as it was at first.

    Parameters
    ----------
    networks : Networks
        Whose optimizer and average they are.
    """

    def __init__(self, networks: Networks) -> None:
        self._containers = [*_containers(networks)]
        self._before = [dict(container) for container in self._containers]

    def carry_over(self, tape: Tape) -> None:
        """Copy tensors that steps have made to where the next ones read them.

        Raises
        ------
        RuntimeError
            If there are new ones, or of another shape, or the host changes what is not on
            the tape.
        """
        moved: list[tuple[Tensor, Tensor]] = []
        for container, before in zip(self._containers, self._before, strict=True):
            if container.keys() != before.keys():
                raise RuntimeError("there is state that was not there before")
            for key, old in before.items():
                new = container[key]
                if new is old or tape.advances(container, key):
                    continue
                if not (isinstance(new, Tensor) and isinstance(old, Tensor)):
                    if isinstance(new, Tensor) or isinstance(old, Tensor) or new != old:
                        raise RuntimeError(f"{key!r} changes and is not on the tape")
                elif new.shape != old.shape or new.dtype != old.dtype:
                    raise RuntimeError(f"{key!r} changes its shape")
                else:
                    moved.append((old, new))
        _check_apart(moved)
        for old, new in moved:
            old.copy_(new)

    def restore(self) -> None:
        """Set everything that is kept to what it was."""
        for container, before in zip(self._containers, self._before, strict=True):
            container.clear()
            container.update(before)

    def is_in_place(self, tape: Tape) -> bool:
        """Return whether graphs find what they read where it was, and unchanged."""
        for container, before in zip(self._containers, self._before, strict=True):
            for key, old in before.items():
                if key == "lr" or tape.advances(container, key):
                    continue  # the host alone reads these
                new = container.get(key)
                if new is not old and (isinstance(old, Tensor) or new != old):
                    return False
        return True


def _check_apart(moved: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Raise unless tensors can be copied one after the other."""
    targets = {old.untyped_storage().data_ptr() for old, _ in moved}
    if any(new.untyped_storage().data_ptr() in targets for _, new in moved):
        raise RuntimeError("a tensor that is kept moves to the place of another one")


def _containers(networks: Networks) -> Iterator[Any]:
    """Yield the dicts in which optimizer and average keep things."""
    optimizer: LightOptimizer = networks.optimizer
    yield from optimizer.state.values()
    for group in optimizer.param_groups:
        yield group
        # such as the measurements of YellowFin
        yield from (value for value in group.values() if isinstance(value, Mapping))
    if networks.ema is not None:
        yield vars(networks.ema)
