"""The training of a bank: epochs on the device, snapshots and state on disk."""

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.devices import hosts, policy
from jaxdd.devices import mesh as devices
from jaxdd.errors import UserError
from jaxdd.experts.bank import Bank
from jaxdd.experts.manifest import Manifest
from jaxdd.storage.checkpoints import STATES, Checkpoints, newest
from jaxdd.storage.files import make_folder
from jaxdd.storage.paths import shown
from jaxdd.storage.signals import Signals
from jaxdd.training.fit import Epochs, FitState
from jaxdd.types import Array, Key, Learner, Network, Params, RealData

# Seconds between two saves of the state: the most work that a kill costs.
SAVE_SECONDS = 15.0


class GroupState(NamedTuple):
    """The state from which a training resumes.

    Attributes:
        done: [] int32, finished epochs, counted over all groups.
        experts: [G, ...], the experts that are trained together.
    """

    done: Array
    experts: FitState


@dataclass(frozen=True)
class Watch:
    """Callbacks of a training.

    Attributes:
        on_resume: (epochs done), called when a training resumes.
        progress: (epochs done, epochs of all groups, seconds of the last epoch), called
            after every epoch.
    """

    on_resume: Callable[[int], None] = lambda done: None
    progress: Callable[[int, int, float], None] = lambda done, total, seconds: None


def group_size(experts: int) -> int:
    """The number of experts that are trained together, chosen by device.

    The largest divisor of `experts` that `policy` lets the devices train at once: one
    per CPU device, where mapping over experts gains nothing and a group would only
    lengthen the time between two saves.
    """
    largest = policy.choices().experts * devices.spread_over()
    return max(g for g in range(1, min(experts, largest) + 1) if experts % g == 0)


def train_bank(
    folder: str | Path,
    manifest: Manifest,
    network: Network,
    epochs: Epochs,
    real: RealData,
    watch: Watch = Watch(),
    begin: Callable[[int], Params] | None = None,
) -> Bank:
    """Train all experts of a bank in a folder that the caller owns, or resume.

    This is what `jaxdd.train_experts` does once data, network and schedule are chosen.

    Expert e starts from `network.init` at its own key and sees its own order of the
    data; both depend on the manifest's seed and on e alone. A training that was stopped
    anywhere and resumed gives the bits of an uninterrupted one on the same kind of
    device.

    Args:
        folder: folder of the bank, which also has `checkpoints/` until it is finished.
        manifest: content of the bank; its last epoch is the number of epochs.
        network: the network to train.
        epochs: the schedule, from `fit.make_epochs`.
        real: the training data.
        watch: callbacks.
        begin: (expert) -> its initial parameters on the host; None for `network.init`.

    Returns:
        The finished bank.

    Raises:
        UserError: the folder has another bank, parameters are not finite, or the disk
            refuses.
        Interrupted: SIGTERM or SIGINT was received, perhaps in the last epoch; the
            state is saved.

    Example:
        >>> import tempfile
        >>> import jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> epochs = jaxdd.make_epochs(
        ...     network, jaxdd.Training(2), fetch=jaxdd.data.real.take)
        >>> manifest = jaxdd.Manifest(
        ...     {}, {}, {"name": "mlp"}, {}, {}, "none", seed=0, experts=3,
        ...     first_epoch=0, last_epoch=2, dtype="float32",
        ...     leaves=jaxdd.experts.layout(network))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     bank = train_bank(Path(folder), manifest, network, epochs, real)
        ...     bank.rows.shape
        (3, 3, 295)
    """
    folder = make_folder(folder, "the folder of the bank")
    begun = newest(folder) is not None
    # Two states: parameters and momentum of the experts that are trained together.
    beside = 2 * group_size(manifest.experts) * 2 * 4 * manifest.parameters
    bank = Bank.create(folder, manifest, begun, beside)
    if bank.manifest.complete:
        _remove_states(folder / STATES)  # left by a kill just after the end
        return bank
    checkpoints = Checkpoints(folder)
    try:
        with Signals("epoch").installed(folder) as signals:
            states = (
                _fresh(manifest.seed, network, epochs)
                if begin is None
                else _from_params(begin, network, epochs)
            )
            _Trainer(bank, states, epochs, real, watch, checkpoints).go(signals)
            # A signal from here on finds nothing left to save.
            bank.finish()
    finally:
        checkpoints.close()
    _remove_states(checkpoints.folder)
    return Bank.open(folder)


def _remove_states(folder: Path) -> None:
    """Remove the states of a training, and the folder where nothing else is in it."""
    if not hosts.primary():
        return
    with contextlib.suppress(OSError):
        for entry in list(folder.iterdir()):
            # Orbax calls a state by its step, and one in the making begins so, too.
            if entry.name.partition(".")[0].isdigit() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
        folder.rmdir()


def _fresh(seed: int, network: Network, epochs: Epochs) -> Callable[[Array], FitState]:
    """(members [G]) -> their states at epoch 0, each from its own key."""
    key_init = jax.random.fold_in(jax.random.key(seed), 0)

    def one(member: Array) -> FitState:
        return epochs.init(Learner(*network.init(jax.random.fold_in(key_init, member))))

    return jax.jit(
        lambda members: policy.spread_axis(one, members, chunk=policy.choices().experts)
    )


def _from_params(
    begin: Callable[[int], Params], network: Network, epochs: Epochs
) -> Callable[[Array], FitState]:
    """(members [G]) -> their states at epoch 0, from the caller's parameters."""
    stats = network.init(jax.random.key(0))[1]
    init = jax.jit(jax.vmap(lambda params: epochs.init(Learner(params, stats))))

    def states(members: Array) -> FitState:
        params = [begin(int(member)) for member in members]
        return init(jax.tree.map(lambda *x: jnp.stack(x), *params))

    return states


class _Trainer:
    """One start of a training."""

    def __init__(
        self,
        bank: Bank,
        states: Callable[[Array], FitState],
        epochs: Epochs,
        real: RealData,
        watch: Watch,
        checkpoints: Checkpoints,
    ):
        self.bank, self.real = bank, real
        self.watch, self.checkpoints = watch, checkpoints
        # A resumed training keeps its groups, on any number of devices.
        shapes = checkpoints.shapes().values()
        saved = next((shape[0] for shape in shapes if shape), None)
        self.group = saved or group_size(bank.manifest.experts)

        def advance(states: FitState, members: Array, real: RealData, epoch: Array):
            def one(xs, real: RealData, epoch: Array):
                state, member = xs
                root: Key = jax.random.key(bank.manifest.seed)
                key = jax.random.fold_in(jax.random.fold_in(root, 1), member)
                return epochs.epoch(key, state, real, epoch)

            at_once = policy.choices().experts
            new = policy.spread_axis(one, (states, members), real, epoch, chunk=at_once)
            finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(new)]
            return new, jnp.all(jnp.stack(finite))

        self.begin = states
        self.advance = jax.jit(advance)

    def members(self, group: int) -> Array:
        return jnp.arange(self.group) + group * self.group

    def go(self, signals: Signals) -> None:
        manifest = self.bank.manifest
        length = manifest.last_epoch
        total = manifest.experts // self.group * length
        state = GroupState(jnp.int32(0), self.begin(self.members(0)))
        restored = self.checkpoints.restore(state)
        if restored is not None:
            state = jax.tree.map(jnp.asarray, restored[1])
            self._verify(int(state.done))
            self.watch.on_resume(int(state.done))
        saved = time.monotonic()
        done = signals.done = int(state.done)
        while done < total:
            group, epoch = divmod(done, length)
            if epoch == 0:
                state = state._replace(experts=self.begin(self.members(group)))
                self._store(group, 0, state.experts)
            began = time.perf_counter()
            experts, finite = self.advance(
                state.experts, self.members(group), self.real, jnp.int32(epoch)
            )
            if not finite:
                self._save(done, state)
                raise UserError(self._fault(group, epoch + 1))
            done = signals.done = done + 1
            state = GroupState(jnp.int32(done), experts)
            self._store(group, epoch + 1, experts)
            self.watch.progress(done, total, time.perf_counter() - began)
            received = signals.agreed()
            due = hosts.most(time.monotonic() - saved) > SAVE_SECONDS
            if received or (due and done < total):
                self._save(done, state)
                saved = time.monotonic()
            if received:
                signals.stop(received)

    def _save(self, done: int, state: GroupState) -> None:
        # The snapshots come first: a state on disk implies that they exist.
        self.bank.flush()
        self.checkpoints.save(done, state)

    def _verify(self, done: int) -> None:
        """Compare the snapshots before a restored state with their checksums.

        Raises:
            UserError: a snapshot is lost or damaged.
        """
        manifest = self.bank.manifest
        whole, epochs = divmod(done, manifest.last_epoch)
        for expert in range(min(manifest.experts, (whole + (epochs > 0)) * self.group)):
            last = manifest.last_epoch if expert < whole * self.group else epochs
            for epoch in range(manifest.first_epoch, last + 1):
                self.bank.verify(expert, epoch)

    def _fault(self, group: int, epoch: int) -> str:
        members = self.members(group)
        who = f"expert {members[0]}"
        if self.group > 1:
            who = f"experts {members[0]} to {members[-1]}"
        return (
            f"the parameters of {who} are not finite after epoch {epoch}: the state "
            f"before it is kept in {shown(self.bank.folder)}; lower --learning_rate "
            "and use another --workdir"
        )

    def _store(self, group: int, epoch: int, experts: FitState) -> None:
        params = jax.device_get(experts.learner.params)
        for i in range(self.group):
            one = jax.tree.map(lambda x, i=i: x[i], params)
            self.bank.write(group * self.group + i, epoch, one)
