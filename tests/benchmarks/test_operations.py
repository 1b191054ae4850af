"""Programs' texts and traces, taken apart; against what is known of a small program."""

import json

import jax
import jax.numpy as jnp
import pytest

from benchmarks import profile
from benchmarks.parts import operations
from benchmarks.parts.operations import (
    Event,
    Instruction,
    covered,
    kind_of,
    own_seconds,
)

TEXT = """
%fused_computation.1 (param_0: f32[4,4], param_1: f32[4,4]) -> f32[4,4] {
  %param_0 = f32[4,4]{1,0} parameter(0)
  %param_1 = f32[4,4]{1,0} parameter(1)
  ROOT %dot.3 = f32[4,4]{1,0} dot(%param_0, %param_1), lhs_contracting_dims={1}
}

ENTRY %main (x: f32[4,4]) -> (f32[4,4], /*index=1*/s32[]) {
  %x = f32[4,4]{1,0} parameter(0)
  %ynn_fusion = f32[4,4]{1,0} fusion(%x, %x), kind=kCustom, calls=%fused_computation.1, metadata={op_name="jit(f)/while/dot_general"}
  %copy.1 = f32[4,4]{0,1} copy(%x)
  %while.2 = (s32[], /*index=1*/f32[4,4]{1,0}) while(%x), condition=%a, body=%b
  ROOT %add.9 = u32[2]{0} add(%x, %x), metadata={op_name="jit(f)/threefry2x32"}
}
"""  # noqa: E501


def test_the_text_tells_what_instructions_do():
    found = operations.instructions(TEXT)
    fused = found["ynn_fusion"]
    assert fused.source == "jit(f)/while/dot_general"
    assert fused.opcodes == {"parameter", "dot"}
    kinds = {name: kind_of(found[name]) for name in found}
    assert kinds["ynn_fusion"] == kinds["dot.3"] == "products"
    assert kinds["copy.1"] == "moves"
    assert kinds["while.2"] == "control"
    assert kinds["add.9"] == "random"
    assert kind_of(Instruction(frozenset({"add", "copy"}), "")) == "elementwise"
    assert kind_of(Instruction(frozenset({"add", "reduce"}), "")) == "sums"


def test_what_runs_inside_is_not_counted_twice():
    second = 1e9
    events = [
        Event("loop", 0, 10 * second),
        Event("a", 1 * second, 4 * second),
        Event("inside a", 2 * second, 3 * second),
        Event("b", 4 * second, 5 * second),
        Event("after", 12 * second, 13 * second),
    ]
    assert own_seconds(events) == [
        ("loop", pytest.approx(6.0)),
        ("a", pytest.approx(2.0)),
        ("inside a", pytest.approx(1.0)),
        ("b", pytest.approx(1.0)),
        ("after", pytest.approx(1.0)),
    ]
    assert covered([(0, 2), (1, 3), (5, 6), (5, 5.5)]) == 4


LIBRARY = """
ENTRY %main (x: f32[4,4]) -> f32[4,4] {
  %x = f32[4,4]{1,0} parameter(0)
  %cudnn.1 = (f32[4,4]{1,0}, u8[0]{0}) custom-call(%x), custom_call_target="__cudnn$convForward", metadata={op_name="jit(f)/conv"}
  %gemm.2 = f32[4,4]{1,0} custom-call(%x), custom_call_target="__cublas$lt$matmul"
  %other.3 = f32[4,4]{1,0} custom-call(%x), custom_call_target="Sharding"
  ROOT %convert_fusion = f32[4,4]{1,0} convert(%x)
}
"""  # noqa: E501


def test_calls_of_libraries_are_what_their_names_say():
    found = operations.instructions(LIBRARY)
    kinds = {name: kind_of(found[name]) for name in found}
    assert kinds["cudnn.1"] == kinds["gemm.2"] == "products"
    assert kinds["other.3"] == kinds["convert_fusion"] == "elementwise"
    assert operations.library_opcode("loop_convert_fusion") == "custom-call"
    assert operations.library_opcode("ampere_sgemm_128x64_nn") == "dot"
    assert operations.library_opcode("MemcpyD2D") == "copy"


def plane(name, lines):
    """A plane of a trace as text; events are (name, hlo_op or None), 2 ns each."""
    names = sorted({e for _, events in lines for e, _ in events})
    text = [f'name: "{name}"', 'stat_metadata {key: 1 value {id: 1 name: "hlo_op"}}']
    for i, event in enumerate(names, 1):
        text.append(f'event_metadata {{key: {i} value {{id: {i} name: "{event}"}}}}')
    for line, events in lines:
        inside = [f'name: "{line}" timestamp_ns: 5']
        for i, (event, op) in enumerate(events):
            stat = f'stats {{metadata_id: 1 str_value: "{op}"}}' if op else ""
            inside.append(
                f"events {{metadata_id: {names.index(event) + 1} "
                f"offset_ps: {i * 3000} duration_ps: 2000 {stat}}}"
            )
        text.append(f"lines {{{' '.join(inside)}}}")
    return f"planes {{{' '.join(text)}}}"


HOST = plane("/host:CPU", [("main", [("thunk", "fusion.1"), ("python", None)])])
GPU = plane(
    "/device:GPU:0",
    [
        ("Stream #14(Compute)", [("k1", "fusion.1"), ("ampere_sgemm", None)]),
        ("XLA Modules", [("jit_step", None)]),
    ],
)
TPU = plane(
    "/device:TPU:0", [("XLA Ops", [("%fusion.7", None)]), ("Steps", [("1", None)])]
)


@pytest.mark.parametrize(
    ("planes", "names", "lines"),
    [
        (HOST, ["fusion.1"], {"/host:CPU": ["main"]}),
        (
            HOST + GPU,
            ["fusion.1", "ampere_sgemm"],
            {"/device:GPU:0": ["Stream #14(Compute)"]},
        ),
        (HOST + TPU, ["fusion.7"], {"/device:TPU:0": ["XLA Ops"]}),
        (plane("/device:GPU:0", []) + HOST, ["fusion.1"], {"/host:CPU": ["main"]}),
    ],
)
def test_traces_of_all_backends_are_read(planes, names, lines):
    trace = jax.profiler.ProfileData.from_text_proto(planes)
    threads, found = operations.read_trace(trace.planes)
    assert [event.name for events in threads for event in events] == names
    assert found == lines
    assert threads[0][0].end - threads[0][0].start == pytest.approx(2)


def test_a_product_in_a_loop_is_found_as_often_as_it_ran():
    def f(x):
        return jax.lax.fori_loop(0, 7, lambda i, y: jnp.cos(y @ x), x)

    x = jnp.eye(64)
    program = jax.jit(f).lower(x).compile()
    run = lambda: jax.block_until_ready(program(x))
    run()
    found = operations.profile(run, program.as_text())
    assert found.kinds["products"].times == 7
    assert found.kinds["elementwise"].times >= 7
    assert 0 < found.busy <= found.wall
    assert any("dot_general" in source for _, source in found.longest.values())


def test_the_command_writes_shares_that_sum_to_one(tmp_path):
    config = profile.Config(
        str(tmp_path), parts="training", settings="small", width=4, repeats=1
    )
    (record,) = profile.run(config)
    assert record == json.loads((tmp_path / "profile.json").read_text())[0]
    assert sum(record["shares"].values()) == pytest.approx(1)
    assert record["shares"]["products"] > 0
    assert record["product_rate"] > 0
    assert "| training | small |" in (tmp_path / "profile.md").read_text()
    assert (tmp_path / "profile.png").exists()
