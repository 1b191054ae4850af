"""The states of a training, which go when it is finished."""

from jaxdd.experts.training import _remove_states


def test_only_states_are_removed_from_a_folder_of_states(tmp_path):
    for name in ("3", "12.orbax-checkpoint-tmp"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    precious = tmp_path / "checkpoints" / "mine.pt"
    precious.write_text("precious")
    _remove_states(tmp_path / "checkpoints")
    assert [x.name for x in (tmp_path / "checkpoints").iterdir()] == ["mine.pt"]
    precious.unlink()
    _remove_states(tmp_path / "checkpoints")
    assert not (tmp_path / "checkpoints").exists()
    _remove_states(tmp_path / "checkpoints")  # nothing is there
