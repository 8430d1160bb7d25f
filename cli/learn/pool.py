# SPDX-License-Identifier: Apache-2.0
"""Runs side by side, one thread each, with a line of progress for each."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from respin.cli.console import err
from respin.golden.data import SourceError
from respin.golden.learn.experiment import Job, Outcome, ResultFolder
from respin.golden.learn.learner import Progress

Message = tuple[Any, Progress]


class ProcessError(Exception):
    """A process of the runs died; the message is one line."""


def _end_with_parent() -> None:
    """Let this process end as soon as the one that started it is gone, however that was ended."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _start() -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    # The runs are beside each other, so one thread each; the variable is for libraries that are not loaded yet.
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def _work(run: Job, folder: Path, queue: "Queue[Message]") -> Outcome:
    return run.execute(ResultFolder(folder), lambda progress: queue.put((run, progress)))


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Pool:
    """Runs what has no result yet.

    Parameters
    ----------
    folder:
        Keeps the results.
    jobs:
        Runs side by side.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        self._folder, self._jobs = folder, jobs

    def __call__(self, runs: Sequence[Any]) -> Mapping[Any, Any]:
        """Return the result of every run.

        Raises
        ------
        SourceError
            If a data set or backbone cannot be had.
        ProcessError
            If a process died, for want of memory, say.
        """
        kept = ResultFolder(self._folder)
        results = {run: result for run in runs if (result := kept.find(run)) is not None}
        missing = [run for run in dict.fromkeys(runs) if run not in results]
        if missing:
            results |= self._run(missing, total=len(dict.fromkeys(runs)))
        return results

    def _run(self, runs: Sequence[Any], *, total: int) -> dict[Any, Any]:
        results: dict[Any, Any] = {}
        context = get_context("spawn")
        manager: SyncManager
        with context.Manager() as manager, _bars() as bars:
            queue: Queue[Message] = manager.Queue()
            others = set(active_children())  # the manager's
            lines = _Lines(bars, done=total - len(runs), total=total)
            with ProcessPoolExecutor(self._jobs, mp_context=context, initializer=_start) as executor:
                waiting: dict[Future[Outcome], Job] = {
                    executor.submit(_work, run, self._folder, queue): run for run in runs
                }
                try:
                    while waiting:
                        done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                        lines.show(queue)
                        for future in done:
                            run = waiting.pop(future)
                            results[run] = future.result()
                            lines.finish(results[run])
                except (SourceError, BrokenProcessPool, KeyboardInterrupt) as error:
                    executor.shutdown(wait=False, cancel_futures=True)
                    for process in set(active_children()) - others:
                        process.terminate()
                    if isinstance(error, BrokenProcessPool):
                        raise ProcessError("a process of the runs died, perhaps for want of memory") from None
                    raise
        return results


def _bars() -> Bars:
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    return Bars(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=err, transient=True)


class _Lines:
    """One line for all runs, one for each that is under way."""

    def __init__(self, bars: Bars, *, done: int, total: int) -> None:
        self._bars = bars
        self._all = bars.add_task("runs", total=total, completed=done)
        self._lines: dict[Any, TaskID] = {}

    def show(self, queue: "Queue[Message]") -> None:
        """Show what came in."""
        while True:
            try:
                run, progress = queue.get_nowait()
            except Empty:
                return
            if run not in self._lines:
                self._lines[run] = self._bars.add_task(run.title, total=progress.steps)
            text = f"{run.title}: loss {progress.loss:.2f}, {100 * progress.right:.0f} % right"
            self._bars.update(self._lines[run], completed=progress.step, description=text)

    def finish(self, result: Outcome) -> None:
        """Take a run's line away and print what came out."""
        line = self._lines.pop(result.run, None)
        if line is not None:
            self._bars.remove_task(line)
        self._bars.advance(self._all)
        self._bars.console.print(f"{result.run.title}: {result.summary}", highlight=False)
