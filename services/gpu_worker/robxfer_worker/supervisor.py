"""One attempt from claim to end: fetch the inputs, run the child, write what it says, keep what it made."""

import contextlib
import json
import shutil
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from robxfer_core.jobs.registry import get_kind
from robxfer_core.ledger import queue, uploads
from robxfer_core.ledger.attempts import Fence
from robxfer_core.ledger.engine import DATABASE_UNAVAILABLE
from robxfer_core.spec.records import Checkpoint, Manifest
from robxfer_core.spec.states import AttemptOutcome
from robxfer_core.storage import ArtifactInfo, Corrupt, Unavailable, fetch_files, publish_folder

from .context import House, Slot
from .forkserver import Child
from .lease import Lease, Lost
from .outcome import Ending, judge, memory_kills, told
from .relay import Talk
from .shutdown import Notice

RETRY_S = 0.5  # between tries while the database or the store is out of reach
T = TypeVar("T")


def supervise(house: House, claim: queue.Claim, slot: Slot) -> str | None:
    """Run a claimed job to its end, whatever happens. Returns the attempt's outcome, or None if it was lost."""
    log = structlog.get_logger().bind(
        project=claim.project_id,
        experiments=claim.experiments,
        job=claim.job_id,
        attempt=claim.attempt,
        kind=claim.kind,
    )
    folder = house.work / f"{claim.job_id}-{claim.attempt}-{uuid.uuid4().hex[:8]}"
    started = time.monotonic()
    log.info("started", slot=slot.number)
    try:
        with Lease(house.engine, claim, house.settings, log) as lease:
            outcome = _Attempt(house, claim, slot, lease, folder, log).run()
    except Lost as lost:
        outcome = None
        log.warning("lost", why=str(lost))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    log.info("ended", outcome=outcome or "lost", seconds=round(time.monotonic() - started, 3))
    return outcome


class _Told(Exception):
    """The attempt was told to end, for this outcome, while files moved or the store was waited for."""


class _Attempt:
    def __init__(
        self, house: House, claim: queue.Claim, slot: Slot, lease: Lease, folder: Path, log: FilteringBoundLogger
    ) -> None:
        self.house, self.claim, self.slot, self.lease = house, claim, slot, lease
        self.folder, self.out, self.output, self.log = folder, folder / "out", folder / "output.txt", log
        self.prefix = queue.prefix_of(claim.project_id, claim.job_id, claim.attempt)
        self.deadline = time.monotonic() + claim.deadline_s
        self.fence = Fence(house.engine, claim.job_id, claim.attempt)
        self.checkpoint: Checkpoint | None = claim.checkpoint
        self.checkpoints = 0

    def run(self) -> str:
        """Compute, and write how it ended. Raises Lost if that is no longer ours to write."""
        try:
            with contextlib.ExitStack() as held:
                ending = self._compute(held)
            if ending.outcome == "succeeded":
                self._publish()
                return ending.outcome
        except Lost:
            raise
        except _Told as reason:
            ending = told(str(reason), self.output)
        except Exception as error:  # of the worker's own surroundings: the store, the disk, a corrupt input
            self.log.exception("the attempt broke down")
            ending = Ending("failed", {"class": type(error).__name__, "message": str(error)[:2000]})
        self._own("finish", lambda: self.fence.finish(AttemptOutcome(ending.outcome), ending.error))
        self._forget_upload()
        return ending.outcome

    def _compute(self, held: contextlib.ExitStack) -> Ending:
        self.out.mkdir(parents=True)
        inputs = self._inputs(held)
        resume = self._resume()
        self._check_starting()
        job = self.folder / "job.json"
        job.write_text(json.dumps(self._job(inputs, resume)))
        kills = memory_kills()
        child = self.house.forks.child()
        try:
            child.channel.sendall(f"{job}\n".encode())
            self.lease.feed(child)
            talk = Talk(self.house.settings.flush_s, self._note, self.lease.progress, self._checkpoint)
            reason = self._follow(child, talk)
            return judge(child.wait(), talk.end, reason, kills, self.output)
        finally:
            self.lease.feed(None)
            child.kill(signal.SIGKILL, group=True)
            child.close()

    def _job(self, inputs: dict[str, list[dict[str, str]]], resume: Path | None) -> dict[str, Any]:
        settings = self.house.settings
        return {
            "kind": self.claim.kind,
            "params": self.claim.params,
            "key": self.claim.key,
            "inputs": inputs,
            "out": str(self.out),
            "work": str(self.folder),
            "resume": str(resume) if resume else None,
            "device": "cuda:0" if self.slot.gpus else "cpu",  # of those that the child is let see
            "gpus": list(self.slot.gpus),
            "ranks": self.claim.gpus,
            "threads": settings.cpu_threads,
            "data_root": str(settings.data_root) if settings.data_root else None,
            "fetch_hosts": settings.fetch_hosts,
            "checkpoint_s": settings.checkpoint_s,
            "lease_s": settings.lease_s,
        }

    def _inputs(self, held: contextlib.ExitStack) -> dict[str, list[dict[str, str]]]:
        """Copies of the input artifacts, held until the attempt's end; results alone where the kind reads no more."""
        only = "result.json" if get_kind(self.claim.kind).RESULTS_ONLY else None
        inputs: dict[str, list[dict[str, str]]] = {}
        for item in sorted(self.claim.inputs, key=lambda item: (item.field, item.index)):
            self._check_starting()

            def fetch(dest: Path, item: queue.ClaimInput = item) -> None:
                self._fetch(item.prefix, item.manifest, dest, only)

            if item.field == "upload":  # read once, and nothing of it is to stay
                fetch(self.folder / item.field)
                inputs[item.field] = [{"path": str(self.folder / item.field), "key": item.key}]
                continue
            name = f"{item.artifact_id}-result" if only else item.artifact_id
            path = held.enter_context(self.house.cache.hold(name, fetch))
            inputs.setdefault(item.field, []).append({"path": str(path), "key": item.key})
        return inputs

    def _resume(self) -> Path | None:
        kept = self.checkpoint
        if kept is None:
            return None
        dest = self.folder / "resume"
        try:
            self._fetch(kept["prefix"], kept, dest)
        except Corrupt as error:  # the result is the same from the start, only later
            self.log.warning("the checkpoint is of no use", error=str(error))
            return None
        return dest

    def _fetch(self, prefix: str, manifest: Manifest, dest: Path, only: str | None = None) -> None:
        check = self._check_starting
        self._patiently(lambda: fetch_files(self.house.store, prefix, manifest, dest, only, check), check)

    def _follow(self, child: Child, talk: Talk) -> str | None:
        """Listen to the child to its end. Returns why it was told to stop, or None if it was not. Raises Lost."""
        every_s = self.house.settings.wanted_s
        with Notice(child, self._reason, self._overdue, every_s) as notice:
            while not talk.listen(child, every_s):
                self.lease.check()
        return notice.given if self.lease.wanted else "stopped"  # then the lease has killed it

    def _reason(self) -> str | None:
        """The outcome for which a child has to stop now, if any."""
        if not self.lease.wanted:
            return "stopped"
        if time.monotonic() >= self.deadline:
            return "timed_out"
        return "preempted" if self.house.draining.is_set() else None

    def _overdue(self) -> bool:
        """Whether a child that was told to stop has had its time to."""
        return time.monotonic() >= min(self.deadline, self.house.draining.at) + self.house.settings.grace_s

    def _check_starting(self) -> None:
        """Raise _Told where the attempt has to end, and Lost."""
        self.lease.check()
        reason = self._reason()
        if reason is not None:
            raise _Told(reason)

    def _check_keeping(self) -> None:
        """The same where what was computed is kept: that is done for as long as a drain allows."""
        self.lease.check()
        if not self.lease.wanted:
            raise _Told("stopped")
        if time.monotonic() >= self.house.draining.at + self.house.settings.grace_s:
            raise _Told("preempted")

    def _note(self, metrics: list[tuple[str, int, float]], logs: list[str]) -> None:
        self._own("record", lambda: self.fence.record(metrics, logs))

    def _checkpoint(self, folder: Path) -> None:
        """Keep a checkpoint: its files first, then the ledger's word for it, then the one before goes."""
        self.checkpoints += 1
        prefix = f"{self.prefix}/checkpoint-{self.checkpoints}"
        try:
            info = ArtifactInfo("checkpoint", self.claim.kind, self.claim.key)
            manifest = publish_folder(self.house.store, prefix, folder, info, self._check_keeping)
        except (_Told, Lost):
            raise
        except Exception as error:  # the job goes on; the next one may be kept
            self.log.warning("a checkpoint could not be stored", error=str(error))
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        checkpoint: Checkpoint = {**manifest, "prefix": prefix}
        self._own("checkpoint", lambda: self.fence.save_checkpoint(checkpoint))
        self._forget(self.checkpoint)
        self.checkpoint = checkpoint

    def _publish(self) -> None:
        claim, began = self.claim, time.monotonic()
        info, check = ArtifactInfo(claim.artifact_type, claim.kind, claim.key), self._check_keeping
        manifest = self._patiently(lambda: publish_folder(self.house.store, self.prefix, self.out, info, check), check)
        self._own("publish", lambda: self.fence.publish(claim.artifact_type, manifest, time.monotonic() - began))
        self._forget(self.checkpoint)

    def _forget(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            return
        try:
            self.house.store.delete(checkpoint["prefix"])
        except Exception as error:  # garbage collection will
            self.log.warning("an old checkpoint could not be removed", error=str(error))

    def _forget_upload(self) -> None:
        """What an import job has refused for good is removed: nobody finds it, its file goes, then its row."""
        sha256 = self.claim.params.get("upload")
        if sha256 is None:
            return
        try:
            upload = uploads.unlist(self.house.engine, self.claim.project_id, sha256)
            if upload is not None:
                self.house.store.delete(upload.prefix)
                uploads.delete_row(self.house.engine, upload.id)
        except Exception as error:  # garbage collection will
            self.log.warning("an upload could not be removed", error=str(error))

    def _patiently(self, act: Callable[[], T], check: Callable[[], None]) -> T:
        """Do what needs the store, again for as long as that is out of reach and the check lets it be."""
        said = False
        while True:
            check()
            try:
                return act()
            except Unavailable as error:
                self.log.warning("the store has to be waited for", error=str(error))
                if not said:
                    self._note([], ["the store is out of reach; trying again"])
                    said = True
            time.sleep(RETRY_S)

    def _own(self, what: str, write: Callable[[], bool]) -> None:
        """A fenced write, tried for as long as the lease may still be ours. Raises Lost where it is not."""
        while True:
            self.lease.check()
            try:
                held = write()
            except DATABASE_UNAVAILABLE as error:
                self.log.warning("a write has to wait for the database", error=str(error))
                time.sleep(RETRY_S)
                continue
            if not held:
                raise Lost(f"the ledger refused the write: {what}")
            return
