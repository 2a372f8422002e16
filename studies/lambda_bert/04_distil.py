"""Put new attention or lambda layers in the place of a trained BERT's attention, and teach them to do what it did.

Reads   the teacher, a key of the registry in the project's params.yaml, which has the `shape` of the study's models
        data/sentences/CORPUS.pickle, from the project's own stages/01_fetch_sentences.py
Writes  studies/lambda_bert/data/TEXT/TASK/distilled-MODEL/   configuration, tokenizer, half-precision weights, and
        results.json: the error of each block, and the loss beside the teacher's

Pre-trained side by side, the two learn so unequally much that they are hard to compare; here both imitate one teacher.

Example: python studies/lambda_bert/04_distil.py --model lambdabert
"""

import argparse

from lambda_bert import settings as study
from linear_shortcuts.settings import add_device, add_params, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=("bert", "lambdabert"), help="which of the two")
    add_device(parser)
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params)
    from functools import partial

    from tqdm import tqdm

    from lambda_bert import distillation, models, shortcut
    from linear_shortcuts.files import artifacts, atomic
    from linear_shortcuts.settings import one_thread, read_params

    params, wanted = read_params(study.REGISTRY), settings.distil
    teacher, tokenizer = shortcut.load_subject(settings, params, wanted.teacher, args.device)
    sentences = shortcut.load_sentences(params)
    longest = teacher.network.config.max_position_embeddings
    ids = tokenizer(sentences["train"], truncation=True, max_length=longest)["input_ids"]
    model = models.new_model(args.model, settings.shape, tokenizer, longest, settings.task, settings.seed)
    model.to(teacher.device)
    distillation.adopt(model, teacher)
    bar = partial(tqdm, desc=f"{args.model}: distil", unit=" steps", disable=None)
    with one_thread():
        batches = distillation.masked_batches(ids, tokenizer, wanted, settings.seed)
        errors = distillation.distil(model, teacher, batches, wanted, bar)
        judged = distillation.judged(sentences["validation"], tokenizer, longest, wanted)
        losses = {
            name: distillation.masked_loss(one, judged, tokenizer, wanted, settings.seed)
            for name, one in (("teacher", teacher.network), ("student", model))
        }
    folder = settings.folders.model(f"distilled-{args.model}")
    with atomic.atomic_folder(folder) as coming:
        models.save_model(coming, model, tokenizer)
        artifacts.save_json(coming / "results.json", {"errors": errors, **losses})
    print(
        f"{args.model}: attention of {wanted.teacher} learned to an error of {sum(errors) / len(errors):.2f} of its "
        f"variance, loss {losses['student']:.2f} nats beside {losses['teacher']:.2f}, in {folder}"
    )


if __name__ == "__main__":
    run(main)
