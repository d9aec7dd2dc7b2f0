"""Files are written whole or not at all and checked on both ways."""

import stat

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from _cells import mapped
from scident import io
from scident.errors import ContractError


def parts(part="train"):
    return pd.DataFrame({"replicate": [0], "cell_id": ["c0"], "part": [part], "heldout": [False]})


def half(path):
    path.write_text("half")
    raise RuntimeError


def test_counts_stored_as_small_integers_are_read_as_floats_of_the_same_value(tmp_path):
    adata = mapped()
    wanted = adata.X.copy()
    adata.X = sparse.csr_matrix(adata.X.astype(np.uint16))
    io.write_h5ad(adata, tmp_path / "r0.h5ad")
    found = io.read_data(tmp_path / "r0.h5ad").X
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.toarray(), wanted)


def test_atomic_leaves_only_the_finished_file(tmp_path):
    target = tmp_path / "new" / "file.txt"
    with io.atomic(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert [p.name for p in target.parent.iterdir()] == ["file.txt"]
    assert target.read_text() == "whole"
    assert stat.S_IMODE(target.stat().st_mode) & stat.S_IRUSR


def test_atomic_keeps_the_old_file_when_the_block_fails(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), io.atomic(target) as temporary:
        half(temporary)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_atomic_folder_replaces_the_old_one_as_a_whole(tmp_path):
    target = tmp_path / "folder"
    for name in ("old", "new"):
        with io.atomic_folder(target) as folder:
            (folder / name).touch()
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_atomic_folder_keeps_the_old_one_when_the_block_fails(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError), io.atomic_folder(target) as folder:
        half(folder / "half")
    assert [p.name for p in target.iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_digest_is_the_sha256_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert io.digest(tmp_path / "file") == "ba7816bf8f01cfea"  # FIPS 180-2, example B.1


def test_digest_of_does_not_depend_on_the_order_of_keys():
    assert io.digest_of({"a": 1, "b": 2}) == io.digest_of({"b": 2, "a": 1})
    assert io.digest_of({"a": 1}) != io.digest_of({"a": 2})


def test_digest_cells_follows_what_a_model_sees_and_nothing_else():
    first, other, relabelled, noted = mapped(), mapped(seed=1), mapped(), mapped()
    relabelled.obs["perturbation"] = relabelled.obs["perturbation"].cat.rename_categories({"a": "z"})
    noted.obs["note"] = "x"
    noted.obs_names = [f"other{i}" for i in range(noted.n_obs)]
    assert io.digest_cells(first) == io.digest_cells(mapped())
    assert io.digest_cells(first) != io.digest_cells(other)
    assert io.digest_cells(first) != io.digest_cells(relabelled)


def test_tables_keep_their_contract_on_the_way_out(tmp_path):
    with pytest.raises(ContractError, match="'parts' breaks its contract"):
        io.write_table(parts("tset"), tmp_path / "parts.parquet", "parts")
    assert not list(tmp_path.iterdir())


def test_tables_keep_their_contract_on_the_way_in(tmp_path):
    parts("tset").to_parquet(tmp_path / "parts.parquet")
    with pytest.raises(ContractError) as found:
        io.read_table(tmp_path / "parts.parquet", "parts")
    assert any("parts.parquet" in note for note in found.value.__notes__)


def test_tables_come_back_as_they_went(tmp_path):
    io.write_table(parts(), tmp_path / "parts.parquet", "parts")
    pd.testing.assert_frame_equal(io.read_table(tmp_path / "parts.parquet", "parts"), parts())


@pytest.mark.parametrize("name", io.contracts.TABLES)
def test_empty_tables_keep_their_contract(name, tmp_path):
    io.write_table(io.empty_table(name), tmp_path / "empty.parquet", name)
    assert io.read_table(tmp_path / "empty.parquet", name).empty


def test_data_files_are_checked_when_read(tmp_path):
    adata = mapped()
    io.write_h5ad(adata, tmp_path / "r0.h5ad")
    np.testing.assert_array_equal(io.read_data(tmp_path / "r0.h5ad").X, adata.X)
    adata.obsm["z_true"] = np.zeros((adata.n_obs, 2))
    io.write_h5ad(adata, tmp_path / "r0.h5ad")
    with pytest.raises(ContractError, match="must not hold the truth") as found:
        io.read_data(tmp_path / "r0.h5ad")
    assert any("r0.h5ad" in note for note in found.value.__notes__)


def test_json_comes_back_as_it_went(tmp_path):
    io.write_json({"b": [1], "a": None}, tmp_path / "x.json")
    assert io.read_json(tmp_path / "x.json") == {"a": None, "b": [1]}


def test_latents_come_back_in_single_precision_with_their_cells(tmp_path):
    z = np.random.default_rng(0).standard_normal((3, 2))
    cells = np.array(["a", "b", "c"])
    io.write_latents(tmp_path / "latents.npz", cells, z, ["x", "y"])
    found_cells, found, blocks = io.read_latents(tmp_path / "latents.npz")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found_cells, cells)
    np.testing.assert_array_equal(found, z.astype(np.float32))
    assert blocks == ("x", "y")


def test_latents_without_blocks_come_back_without(tmp_path):
    io.write_latents(tmp_path / "latents.npz", np.array(["a"]), np.zeros((1, 2)))
    assert io.read_latents(tmp_path / "latents.npz")[2] is None
