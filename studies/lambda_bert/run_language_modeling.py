"""Pre-train a LambdaBERT or a BERT on masked tokens and pairs of segments, with Hugging Face's Trainer.

Reads   --train_data_file and --eval_data_file: text in the layout of WikiText, where a heading line ( = Title = ) ends
        a document, or .jsonl or .parquet with an article a row; or --dataset_name: WikiText itself. Without any:
        Python's own documentation strings
Writes  --output_dir: model, configuration, tokenizer, checkpoints and, with --do_eval, eval_results_lm.txt with the
        MLM loss, its perplexity and, apart from them, loss and accuracy on the pairs

Beside masked tokens the model learns whether the second segment follows the first (next-sentence prediction, NSP) or,
with --sop, whether the two stand in their order (sentence-order prediction). A killed run continues with the same
command. Nothing is reported to any service unless --report_to says so. Every argument of TrainingArguments is taken.

Example: python studies/lambda_bert/run_language_modeling.py --do_train --do_eval --sop --output_dir lambdabert-sop \\
             --config_name studies/lambda_bert/small.json --block_size 64 --max_steps 50
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForPreTraining, HfArgumentParser, TrainingArguments, set_seed

from lambda_bert import LambdaBertConfig, documents, pairs, pretraining
from lambda_bert.settings import DocstringsText, FilesText, Source, WikitextText
from linear_shortcuts.files import InputError
from linear_shortcuts.models import loading
from linear_shortcuts.settings import run
from linear_shortcuts.training import tokenizers


@dataclass
class ModelArguments:
    """Which model and tokenizer."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Start from these weights; a checkpoint of Trainer is continued. Default: from scratch."},
    )
    config_name: str | None = field(
        default=None,
        metadata={
            "help": "Configuration (file, folder, hub id) to start from scratch; default: a LambdaBERT of 12 layers."
        },
    )
    tokenizer_name: str | None = field(
        default=None,
        metadata={
            "help": "A BERT tokenizer (folder or hub id, such as bert-base-cased); default: the model's own, or, from "
            "scratch, lower-casing WordPiece trained on the text."
        },
    )


@dataclass
class DataArguments:
    """Which text, and how it becomes pairs."""

    train_data_file: list[str] | None = field(
        default=None, metadata={"help": "Text files to train on; default: Python's own documentation strings."}
    )
    dataset_name: str | None = field(
        default=None,
        metadata={"help": "WikiText instead: Salesforce/wikitext, or the folder of a local copy of its Parquet files."},
    )
    dataset_config_name: str = field(
        default="wikitext-2-raw-v1", metadata={"help": "Which of that; wikitext-103-raw-v1 is the large one."}
    )
    eval_data_file: list[str] | None = field(
        default=None, metadata={"help": "Text files to evaluate on; default: a share of the train documents."}
    )
    validation_share: float = field(default=0.1, metadata={"help": "That share."})
    text_field: str = field(default="text", metadata={"help": "The column of .jsonl and .parquet that holds the text."})
    split_sentences: bool = field(
        default=False, metadata={"help": "Cut lines into sentences, so that segments are made of sentences."}
    )
    sop: bool = field(
        default=False, metadata={"help": "Predict the order of the segments; without: whether they belong together."}
    )
    block_size: int = field(default=512, metadata={"help": "Tokens in a pair, special tokens included."})
    short_probability: float = field(default=0.1, metadata={"help": "Share of pairs that are made shorter."})
    duplicates: int = field(default=1, metadata={"help": "Times the documents are cut into pairs, differently."})
    mlm_probability: float = field(default=0.15, metadata={"help": "Share of the tokens to predict."})


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


def main() -> None:
    parser = HfArgumentParser(
        (ModelArguments, DataArguments, TrainingArguments),
        usage="%(prog)s --output_dir FOLDER [--do_train] [--do_eval] [--sop] [and others, see --help]",
        description=__doc__,
        formatter_class=_Help,
    )
    parser.set_defaults(disable_tqdm=not sys.stderr.isatty(), save_total_limit=2, seed=42)
    try:
        named, text, args = parser.parse_args_into_dataclasses()
    except (ValueError, ImportError) as error:
        raise InputError(str(error)) from error
    check(named, text, args)
    task: pairs.Task = "sop" if text.sop else "nsp"
    output = Path(args.output_dir)

    train_text, validation_text = read_text(text, args.seed)
    config = load_config(named)
    tokenizer = load_tokenizer(named, train_text, config)
    model = load_or_new(named, config, tokenizer, task, text.block_size, args)
    train, validation, left_out = pairs.make_datasets(
        train_text, validation_text, tokenizer, task, block_size=text.block_size,
        short_probability=text.short_probability, duplicates=text.duplicates, seed=args.seed,
    )  # fmt: skip
    why = ", ".join(f"{number:,} {reason}" for reason, number in left_out.items()) or "nothing"
    print(
        f"{len(train_text):,} + {len(validation_text):,} documents, {len(train):,} + {len(validation):,} pairs for "
        f"{task.upper()}; left out: {why}"
    )
    trainer = pretraining.PairTrainer(model, args, tokenizer, task, train, validation, text.mlm_probability)
    with pretraining.locked(output):
        if args.do_train:
            batch = args.train_batch_size * args.gradient_accumulation_steps
            seeds = {"seed": args.seed, "mlm_probability": text.mlm_probability, "batch": batch}
            recipe = {"pairs": train.sha256, "task": task, "sizes": sizes(model), "switches": switches(model), **seeds}
            pretraining.check_recipe(output, recipe)
            checkpoint = resume_from(named, args, output)
            if checkpoint is not None:
                print(f"continues from {checkpoint}")
            pretraining.train(trainer, checkpoint)
            trainer.save_model()
        if args.do_eval:
            results = pretraining.evaluate(trainer, task)
            path = pretraining.save_results(output, results)
            print(path.read_text(), end="")
    print(f"{model.config.model_type}: {trainer.state.global_step:,} steps, in {output}")


def check(named: ModelArguments, text: DataArguments, args: TrainingArguments) -> None:
    """Raise `InputError` for what would fail late, or do nothing; evaluate during training if `--eval_steps` asks."""
    if not args.do_train and not args.do_eval:
        raise InputError("nothing to do; give --do_train, --do_eval or both")
    if not args.do_train and not named.model_name_or_path:
        raise InputError("--do_eval alone needs a trained model; give --model_name_or_path, or --do_train too")
    for name in ("validation_share", "short_probability", "mlm_probability"):
        low = 0 if name == "short_probability" else 1e-6
        if not low <= getattr(text, name) <= 1:
            raise InputError(f"--{name} is {getattr(text, name)}; it must lie between {low:g} and 1")
    counts = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
    for name, value in (("duplicates", text.duplicates), *((name, getattr(args, name)) for name in counts)):
        if value < 1:
            raise InputError(f"--{name} is {value}; it must be at least 1")
    if args.do_eval and args.prediction_loss_only:
        raise InputError("--prediction_loss_only would leave --do_eval without its scores; leave it out")
    if args.dataloader_persistent_workers:
        raise InputError("--dataloader_persistent_workers would mask the same tokens in every epoch; leave it out")
    resume = args.resume_from_checkpoint
    if args.do_train and resume and not (Path(resume) / "trainer_state.json").is_file():
        raise InputError(f"--resume_from_checkpoint {resume} is no checkpoint of Trainer")
    if text.eval_data_file and not text.train_data_file and args.do_train:
        raise InputError("--eval_data_file needs --train_data_file, since the default text holds out documents itself")
    if text.dataset_name and (text.train_data_file or text.eval_data_file):
        raise InputError("--dataset_name has its own files; leave out --train_data_file and --eval_data_file")
    if args.eval_steps is not None and args.eval_strategy == "no":
        args.eval_strategy = type(args.eval_strategy)("steps")


def load_config(named: ModelArguments) -> Any:
    """The configuration of the model to train or judge."""
    if named.model_name_or_path and named.config_name:
        raise InputError("--model_name_or_path has a configuration of its own; leave out --config_name")
    name = named.model_name_or_path or named.config_name
    with one_line(name):
        return AutoConfig.from_pretrained(name) if name else LambdaBertConfig()


def load_tokenizer(named: ModelArguments, text: list[documents.Document], config: Any) -> Any:
    """The tokenizer that is named, the model's own, or one of the model's size trained on the text."""
    if name := named.tokenizer_name or named.model_name_or_path:
        return loading.load_tokenizer(name)
    lines = (line for document in text for line in document)
    tokenizer = tokenizers.train_word_pieces(lines, config.vocab_size, config.max_position_embeddings)
    print(f"tokenizer: {len(tokenizer):,} pieces of the words of the text to train on")
    return tokenizer


@contextlib.contextmanager
def one_line(name: str | None) -> Iterator[None]:
    """What transformers says of a model that it cannot load, as one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"cannot load {name}: {reason}") from error


def load_or_new(
    named: ModelArguments, config: Any, tokenizer: Any, task: pairs.Task, block_size: int, args: TrainingArguments
) -> Any:
    """The model to train or judge; `InputError` if tokenizer, block or, to judge it, task do not fit it."""
    name = named.model_name_or_path or named.config_name
    learned = getattr(config, "pair_objective", task)
    if hasattr(config, "pair_objective"):
        config.pair_objective = task
    with one_line(name):
        if named.model_name_or_path:
            model = AutoModelForPreTraining.from_pretrained(name, config=config, dtype=torch.float32)
        else:
            set_seed(args.seed)
            model = AutoModelForPreTraining.from_config(config, dtype=torch.float32)
    if not args.do_train and learned != task:
        mend = "give --sop" if learned == "sop" else "leave out --sop"
        raise InputError(f"{name} was trained for {learned.upper()}, but the task is {task.upper()}; {mend}")
    if len(tokenizer) > config.vocab_size:
        raise InputError(
            f"the tokenizer has {len(tokenizer):,} tokens but vocab_size is {config.vocab_size:,}; raise it"
        )
    if block_size > config.max_position_embeddings:
        raise InputError(
            f"--block_size is {block_size} but max_position_embeddings is {config.max_position_embeddings}; lower the "
            "first or raise the second"
        )
    return model


def read_text(text: DataArguments, seed: int) -> tuple[list[documents.Document], list[documents.Document]]:
    """The documents to train on, and those to evaluate on."""
    source: Source = DocstringsText(source="docstrings")
    if text.dataset_name:
        source = WikitextText(
            source="wikitext", dataset=text.dataset_name, config=text.dataset_config_name, revision=None
        )
    elif given := text.train_data_file or text.eval_data_file:
        validation = tuple(text.eval_data_file) if text.eval_data_file else None
        source = FilesText(
            source="files", train=tuple(given), validation=validation, sentences=text.split_sentences,
            text_field=text.text_field,
        )  # fmt: skip
    return documents.read_source(source, text.validation_share, seed)


def sizes(model: Any) -> dict[str, Any]:
    """Names and shapes of the weights: what a checkpoint has to fit."""
    return {name: list(weight.shape) for name, weight in model.named_parameters()}


def switches(model: Any) -> dict[str, Any]:
    """What a configuration sets besides sizes: with other values the same weights make, or begin, another model."""
    names = ("mask_padding", "token_only_batchnorm", "strict_original", "pair_objective", "local_context_size")
    dropout = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob")
    start = ("initializer_range", "position_initializer_range", "query_scale_init_value")
    return {name: getattr(model.config, name) for name in (*names, *dropout, *start) if hasattr(model.config, name)}


def resume_from(named: ModelArguments, args: TrainingArguments, output: Path) -> str | None:
    """The checkpoint to continue from: the one that is named, else the newest in the output folder."""
    if args.resume_from_checkpoint:
        return args.resume_from_checkpoint
    if (checkpoint := pretraining.newest_checkpoint(output)) is not None:
        return str(checkpoint)
    start = Path(named.model_name_or_path or "")
    return str(start) if (start / "trainer_state.json").is_file() and (start / "optimizer.pt").is_file() else None


if __name__ == "__main__":
    run(main)
