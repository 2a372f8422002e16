"""What is saved is what was in memory, for anyone; a disk that fills up leaves nothing; the original is not touched."""

import json
import resource
import signal

import gguf_models
import pytest
import tiny
import torch
from fresh_process import in_fresh_process

from linear_shortcuts.files.artifacts import file_sha256
from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.loading import load_model, load_tokenizer
from linear_shortcuts.shorten import checkpoints
from linear_shortcuts.shorten.checkpoints import check_free, save
from linear_shortcuts.shorten.choice import shorten
from linear_shortcuts.shorten.exits import exit_at

LOADED_ELSEWHERE = """
    import sys
    sys.modules["linear_shortcuts"] = None  # importing it fails
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    for folder in sys.argv[2:]:
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"], info
        AutoTokenizer.from_pretrained(folder)
        ids = torch.arange(7, 27, 2)[None]
        with torch.inference_mode():
            torch.save(model(input_ids=ids, use_cache=False).logits[0], f"{folder}/logits.pt")
        model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0)  # with the cache, by its blocks' numbers
"""


@pytest.fixture
def source(tmp_path):
    """A checkpoint with a tokenizer, and what its files hold."""

    def make(name):
        folder = tmp_path / "source"
        tiny.architecture(name).network.save_pretrained(folder, max_shard_size="20KB")
        tiny.save_tokenizer(folder)
        return folder

    return make


def files_of(folder):
    return {path.name: file_sha256(path) for path in folder.iterdir()}


def test_a_fresh_process_without_this_package_gives_the_logits_that_there_were_in_memory(rows_of, logits, tmp_path):
    """For all families at once, because a process that loads torch is dear; mapped exits and bfloat16 among them."""
    wanted = {}
    tokenizer_folder = tmp_path / "tokenizer"
    tiny.save_tokenizer(tokenizer_folder)
    tokenizer = load_tokenizer(tokenizer_folder)
    for name in ("gpt2", "gpt_neo", "llama (SmolLM: tied)", "smollm3", "gemma3"):
        model = tiny.architecture(name)
        method = "fold" if model.family.down else "drop"
        made = shorten(model, rows_of(model), 1, start=1, method=method, work=tmp_path / "work" / name.split()[0])
        folder = save(made, tmp_path / name.replace(" ", "_"), tokenizer, of=name, text="random")
        wanted[folder] = logits(made.model.network)
    for name in ("llama (SmolLM: tied)", "gpt2", "gemma"):
        model = tiny.architecture(name)
        made = exit_at(model, rows_of(model), 2)
        folder = save(made, tmp_path / f"exit_{name.split()[0]}", tokenizer, of=name, text="random")
        wanted[folder] = logits(made.model.network)
    result = in_fresh_process(LOADED_ELSEWHERE, "-", *wanted)
    assert result.returncode == 0, result.stderr[-2000:]
    for folder, ours in wanted.items():
        theirs = torch.load(folder / "logits.pt")
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


def test_a_sharded_checkpoint_is_read_kept_as_it_is_and_described(source, rows_of, tmp_path):
    folder = source("llama")
    assert len(list(folder.glob("*.safetensors"))) > 1
    before = files_of(folder)
    model, tokenizer = load_model(folder, device="cpu"), load_tokenizer(folder)
    made = shorten(model, rows_of(model), 1, work=tmp_path / "work")
    saved = save(made, tmp_path / "shorter", tokenizer, of=str(folder), text="random tokens")
    assert files_of(folder) == before
    card = (saved / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n---\n")  # no folder of this machine in the hub's header
    for said in ("random tokens", "of its 3", f"{made.report['shorter']['kl']:.3f} ["):
        assert said in card
    assert json.loads((saved / "config.json").read_text())["use_cache"]
    assert json.loads((saved / "shortened.json").read_text())["candidates"] == made.candidates
    assert (saved / "generation_config.json").is_file()
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1  # whoever may read one may read all
    again = load_model(saved, device="cpu")  # its family still describes it
    assert again.layers == 2


def test_bfloat16_stays_bfloat16(source, rows_of, tmp_path):
    folder = source("llama")
    model, tokenizer = load_model(folder, device="cpu", dtype="bfloat16"), load_tokenizer(folder)
    made = shorten(model, rows_of(model), 1, work=tmp_path / "work")
    saved = save(made, tmp_path / "shorter", tokenizer, of="owner/model", text="b")
    assert "---\nbase_model: owner/model\nlibrary_name" in (saved / "README.md").read_text()
    assert load_model(saved, device="cpu", dtype="auto").network.dtype == torch.bfloat16
    assert json.loads((saved / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_gguf_file_becomes_an_ordinary_checkpoint(rows_of, tmp_path):
    gguf_models.write(tmp_path / "model.gguf")
    model, tokenizer = load_model(tmp_path / "model.gguf", device="cpu"), load_tokenizer(tmp_path / "model.gguf")
    saved = save(exit_at(model, rows_of(model), 1), tmp_path / "exit", tokenizer, of="a", text="b")
    assert "quantization_config" not in (saved / "config.json").read_text()
    assert load_model(saved, device="cpu").layers == 1


def test_a_disk_that_fills_up_leaves_nothing(source, rows_of, tmp_path):
    folder = source("gpt2")
    model, tokenizer = load_model(folder, device="cpu"), load_tokenizer(folder)
    made = exit_at(model, rows_of(model), 1)
    there = {path.name for path in tmp_path.iterdir()}
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot be written"):
            save(made, tmp_path / "shorter", tokenizer, of="a", text="b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name for path in tmp_path.iterdir()} == there
    save(made, tmp_path / "shorter", tokenizer, of="a", text="b")  # the positive control


def test_a_model_that_computes_by_the_number_of_a_block_is_refused(rows_of, tmp_path):
    """GPT-2's scores scaled by the block's number, counted anew in a shorter model."""
    made = tiny.random_network("gpt2", scale_attn_by_inverse_layer_idx=True)
    model = tiny.wrap(made, name="odd")
    tiny.save_tokenizer(tmp_path / "tokenizer")
    shorter = shorten(model, rows_of(model), 1, start=1, method="drop", work=tmp_path / "work")
    with pytest.raises(InputError, match="by the number of a block"):
        save(shorter, tmp_path / "shorter", load_tokenizer(tmp_path / "tokenizer"), of="a", text="b")
    assert not (tmp_path / "shorter").exists()


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    check_free(tmp_path / "mine")
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="mine is there already"):
        check_free(tmp_path / "mine")


def test_what_no_checkpoint_can_hold_is_not_saved():
    with pytest.raises(InputError, match="multiplies the stream itself"):
        checkpoints.check_method("patch")


def test_an_exit_drafts_for_the_full_model_without_changing_its_output(rows_of):
    model = tiny.architecture("llama (SmolLM: tied)")
    draft = exit_at(model, rows_of(model), 2).model.network
    ids = torch.arange(7, 15)[None]
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(
        model.network.generate(ids, **options), model.network.generate(ids, assistant_model=draft, **options)
    )
