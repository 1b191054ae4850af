"""Networks of one's own: initial values, what they may need, how they are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxdd
from jaxdd.distillation.opening import open_run
from jaxdd.distillation.place import Place
from jaxdd.fields.code import code_of, known_by
from jaxdd.modifiers.depth import depth_order
from jaxdd.modifiers.masks import make_mask
from jaxdd.nets.layers import Conv, Dense, Norm
from jaxdd.nets.registry import NETS, Builder, make_network
from jaxdd.progress import listening
from jaxdd.types import Outputs
from tests.helpers import refused

SHAPE = (8, 8, 1)


class Own(nn.Module):
    """A network whose only kernel has another name, and a slope that is no zero."""

    num_classes: int
    slope: float = 0.25
    dropout: float = 0.0
    norm: bool = False

    @nn.compact
    def __call__(self, images, train):
        x = images.reshape(len(images), -1)
        weights = self.param("weights", nn.initializers.ones, (x.shape[-1], 4))
        x = nn.PReLU(negative_slope_init=self.slope, name="block0")(x @ weights)
        if self.dropout:
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, name="block1")(x)
        return Outputs(nn.Dense(self.num_classes, name="head")(x), features=(x,))


class Counting(nn.Module):
    """A network with a variable that nothing updates."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train):
        self.variable("counts", "calls", jnp.zeros, ())
        x = images.reshape(len(images), -1)
        return Outputs(nn.Dense(self.num_classes, name="head")(x), features=(x,))


class WithoutTrain(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images):
        x = images.reshape(len(images), -1)
        return Outputs(nn.Dense(self.num_classes, name="head")(x), features=(x,))


@pytest.fixture
def own(monkeypatch):
    """(module, **options of Builder) -> the network."""

    def make(module, **options):
        monkeypatch.setitem(NETS, "own", Builder(module, {}, **options))
        return make_network("own", SHAPE, 10)

    return make


def test_a_module_draws_its_own_parameters(own):
    params, _ = own(Own).init(jax.random.key(3))
    assert np.all(params["weights"] == 1)
    assert params["block0"]["negative_slope"] == 0.25
    assert 0.08 < params["head"]["kernel"].std() < 2.0
    assert not np.any(params["head"]["bias"])
    others, _ = own(Own, draw=twos).init(jax.random.key(3))
    assert all(np.all(x == 2) for x in jax.tree.leaves(others))


def test_batch_norm_of_flax_trains_and_has_its_statistics(own):
    network = own(functools.partial(Own, norm=True))
    params, stats = network.init(jax.random.key(0))
    assert np.all(stats["block1"]["var"] == 1)
    images = jax.random.normal(jax.random.key(1), (6, *SHAPE))
    _, trained = network.apply(params, stats, images, True)
    assert np.any(trained["block1"]["mean"] != 0)
    outputs, same = network.apply(params, trained, images, False)
    assert np.isfinite(outputs.logits).all()
    assert same is trained


def test_moments_that_a_batch_norm_does_not_tell_are_asked_for_in_a_sentence(own):
    network = own(functools.partial(Own, norm=True))
    params, stats = network.init(jax.random.key(0))
    outputs, _ = network.apply(params, stats, jnp.ones((2, *SHAPE)), False)
    with refused("does not tell the moments of its inputs"):
        jaxdd.nets.told_moments(outputs, stats)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (functools.partial(Own, dropout=0.5), "draws random numbers in training"),
        (Counting, "variables of the kind counts, which nothing here updates"),
        (WithoutTrain, r"must be called with \(images, train\)"),
    ],
)
def test_what_a_network_cannot_be_given_is_refused(own, module, words):
    with refused(words):
        own(module)


def test_an_entry_that_is_no_builder_is_named(monkeypatch):
    monkeypatch.setitem(NETS, "own", Own)
    with refused(r"NETS\['own'\] must be a Builder"):
        make_network("mlp", SHAPE, 10)


def make_of(slope):
    class Closed(Own):
        @nn.compact
        def __call__(self, images, train):
            x = nn.leaky_relu(images.reshape(len(images), -1), slope)
            return Outputs(nn.Dense(self.num_classes, name="head")(x), features=(x,))

    return Closed


def test_values_that_a_network_holds_are_part_of_its_code():
    codes = [
        code_of(x)
        for x in (
            Own, functools.partial(Own, slope=0.0), functools.partial(Own, slope=0.9),
            make_of(0.0), make_of(0.9), functools.partial(make_of(0.9), slope=0.0),
        )
    ]  # fmt: skip
    assert len({*codes, None}) == 7
    assert code_of(functools.partial(Own, slope=0.9)) == codes[2]
    assert code_of(make_of(0.9)) == codes[4]
    assert code_of(functools.partial(Own, slope=np.ones(2))) is None

    def itself(n):
        return itself(n - 1) if n else 0

    assert code_of(itself) is None


def halves(key, shapes):
    return jax.tree.map(lambda x: jnp.full(x.shape, 0.5), shapes)


def twos(key, shapes):
    return jax.tree.map(lambda x: jnp.full(x.shape, 2.0), shapes)


def test_fixed_options_and_draws_are_part_of_the_code():
    builders = [
        Builder(Own, {}), Builder(Own, {}, fixed={"norm": "batch"}),
        Builder(Own, {}, draw=halves), Builder(Own, {}, draw=twos),
    ]  # fmt: skip
    assert len({code_of(builder.written) for builder in builders} | {None}) == 5
    assert NETS["convnet_bn"].written is NETS["convnet"].module


def test_what_functions_made_by_functions_hold_counts():
    """Of the library too; two of them that a line has are not told apart."""
    augments = [jaxdd.siamese(jaxdd.dsa(name)) for name in ("color", "crop", "color")]
    a, b, c = (known_by(x) for x in augments)
    assert a == c != b
    assert known_by(jnp.tanh).endswith(".tanh")
    first, second = lambda x: x + 1, lambda x: x + 2
    assert known_by(first) is known_by(second) is None
    assert known_by(make_network) == "jaxdd.nets.registry.make_network"
    assert code_of(functools.partial(Own, inner=Own(3))) is None


class OfTheLibrary(nn.Module):
    """Layers and batch norm of the library in a module of one's own."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train):
        x = Conv(4, padding=1, name="conv")(images)
        x = Norm("batch", name="block0")(x, train).reshape(len(images), -1)
        return Outputs(Dense(self.num_classes, name="head")(x), features=(x,))


def test_layers_of_the_library_in_a_network_of_ones_own(own):
    network = own(OfTheLibrary)
    params, stats = network.init(jax.random.key(0))
    assert 0.2 < np.abs(params["conv"]["kernel"]).max() <= 1 / 3
    assert 0.01 < np.abs(params["head"]["bias"]).max() <= 1 / 16
    assert np.all(params["block0"]["scale"] == 1)
    outputs, _ = network.apply(params, stats, jnp.ones((2, *SHAPE)), False)
    moments = jaxdd.nets.told_moments(outputs, stats)
    assert jax.tree.structure(moments) == jax.tree.structure(stats)


def test_a_run_says_whose_change_it_would_not_notice(tmp_path, monkeypatch):
    """Of a network that holds an array, say; and refuses what it can tell apart."""

    def opened(slope):
        builder = Builder(functools.partial(Own, slope=slope), {})
        monkeypatch.setitem(NETS, "own", builder)
        return open_run("dm", {"dataset": "digits", "net": "own"})

    def warnings(run):
        said = []
        with listening(said.append):
            run.job(Place(tmp_path))
        return [text for text in map(str, said) if "code of the network" in text]

    known = opened(0.0)
    known.record(tmp_path)
    assert not warnings(known)
    with refused("network_code"):
        opened(0.9).compare(tmp_path)
    (warned,) = warnings(opened(np.float64(0.5).reshape(1)))
    assert "cannot be read, or holds what no file can" in warned


def test_parts_whose_depth_no_name_tells_are_refused():
    assert depth_order(["head/bias", "block10/kernel", "block2/kernel"]) == [
        "block2/kernel", "block10/kernel", "head/bias",
    ]  # fmt: skip
    assert depth_order(["head/kernel", "stem/kernel"])[0] == "stem/kernel"
    with refused("the depth of body, stem is not known", "give make_mask their order"):
        depth_order(["stem/kernel", "body/kernel", "head/kernel"])
    for names in (
        ["params/Conv_0/kernel", "params/Conv_1/kernel", "params/Dense_0/kernel"],
        ["net/~/conv2_d/w", "net/~/linear/w"],
        ["backbone/mixer/w", "backbone/attention/w", "head/w"],
        ["into", "out"],
    ):
        with refused("the depth of"):
            depth_order(names)


def test_what_all_paths_have_tells_no_depth():
    """Flax's params, haiku's modules, the values of NNX; lists have an order."""
    for beginning, end in (("params/", ""), ("net/~/", ""), ("", "/value"), ("", "")):
        names = [
            f"{beginning}{x}{end}"
            for x in ("head/b", "head/w", "block2/w", "block10/w")
        ]
        assert depth_order(names) == [names[2], names[3], names[1], names[0]]
    assert depth_order(["layers/10/w", "layers/2/b", "layers/2/w"]) == [
        "layers/2/w", "layers/2/b", "layers/10/w",
    ]  # fmt: skip
    layer = ["params/Dense_0/bias", "params/Dense_0/kernel"]
    assert depth_order(layer) == layer[::-1]


def test_an_order_says_how_deep_parts_are():
    tree = {
        "params": {x: {"kernel": jnp.ones(2)} for x in ("Conv_0", "Dense_0", "Stem")}
    }
    order = ("Stem", "params/Conv_0", "Dense_0")
    kept = make_mask("depth", 0.5, order=order)(tree)["params"]
    assert [kept[x]["kernel"].tolist() for x in ("Stem", "Conv_0", "Dense_0")] == [
        [0, 0], [0, 1], [1, 1],
    ]  # fmt: skip
    with refused("'params/Dense_0/kernel' is in none of the parts Stem, Conv_0"):
        make_mask("depth", 0.5, order=("Stem", "Conv_0"))(tree)
    with refused("is not known"):
        make_mask("depth", 0.5)(tree)
    by_loss = make_mask("loss", 0.34, "layer")(tree)["params"]  # needs no depth
    assert sum(float(x["kernel"].sum()) for x in by_loss.values()) == 4
