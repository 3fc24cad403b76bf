"""Command lines that must be refused in a line or two: an exit status of 1 or 2, and no traceback."""

from typing import NamedTuple

from good_calls import at

__all__ = ["COMMANDS", "Command"]


class Command(NamedTuple):
    """Words after `ppl-vae`, paths in angle brackets being those of files that are no runs; what is named in stderr."""

    words: str
    named: str
    waits: str = ""

    @property
    def argv(self) -> list[str]:
        """The words."""
        return [at(word[1:-1]) if word.startswith("<") else word for word in self.words.split()]


OF_RUNS = ("evaluate", "diagnose", "sample", "fit-prior")
TAIL = {"fit-prior": " --out <new>"}

COMMANDS = [
    Command("trian", "trian"),
    Command("--nonsense", "--nonsense"),
    *(
        Command(f"train --{option} {value}", option, waits)
        for option, value, waits in [
            ("data", "digit", ""),
            ("data", "no/such/file.npy", ""),
            ("data", "<text.txt>", ""),
            ("data", "<objects.npy>", ""),
            ("data", "<scalar.npy>", ""),
            ("data", "<empty>", ""),
            ("binarize", "yes", ""),
            ("take", "0", ""),
            ("take", "-1", ""),
            ("take", "1.5", ""),
            ("take", "many", ""),
            ("latent-dim", "0", ""),
            ("latent-dim", "two", ""),
            ("latent-dim", "1.5", ""),
            ("latent_dmi", "2", ""),
            ("prior", "StandardNorml", ""),
            ("prior", "Bernoulli", ""),
            ("prior.num_components", "3", ""),
            ("posterior", "StandardNormal", ""),
            ("likelihood", "3", ""),
            ("encoder", "MLPs", ""),
            ("decoder", "os.system", ""),
            ("corruption", "Noise", ""),
            ("objective", "ELBO2", ""),
            ("beta", "Linear --beta.epochs -1", ""),
            ("epochs", "0", ""),
            ("epochs", "-1", ""),
            ("epochs", "1.5", ""),
            ("epochs", "nan", ""),
            ("batch-size", "0", ""),
            ("batch-size", "a", ""),
            ("learning-rate", "0", ""),
            ("learning-rate", "-1", ""),
            ("learning-rate", "nan", ""),
            ("learning-rate", "fast", ""),
            ("one-cycle", "0", ""),
            ("one-cycle", "-0.01", ""),
            ("clip-norm", "0", ""),
            ("clip-norm", "-1", ""),
            ("patience", "0", ""),
            ("seed", "-1", ""),
            ("seed", "1.5", ""),
            ("data-seed", "-1", ""),
            ("device", "gpu", ""),
            ("config", "no/such/file.yaml", ""),
            ("config", "<broken.json>", ""),
            ("import", "no/such/file.py", ""),
            ("nonsense", "3", ""),
            ("conditional", "maybe", ""),
        ]
    ),
    Command("train --resume", "run"),
    Command("train extra", "extra"),
    *(Command(f"{verb}{TAIL.get(verb, '')}", "run") for verb in OF_RUNS),
    *(
        Command(f"{verb} {run}{TAIL.get(verb, '')}", named)
        for verb in OF_RUNS
        for run, named in {
            "no/such/run": "no/such/run",
            "<empty>": "empty",
            "<text.txt>": "text.txt",
        }.items()
    ),
    *(Command(f"{verb} <empty> --nonsense 3{TAIL.get(verb, '')}", "nonsense") for verb in OF_RUNS),
    *(Command(f"{verb} <empty> --seed one{TAIL.get(verb, '')}", "seed") for verb in OF_RUNS),
    Command("evaluate <empty> --num-samples many", "num-samples"),
    Command("evaluate <empty> --max-rows 1.5", "max-rows"),
    Command("diagnose <empty> --subset x", "subset"),
    Command("diagnose <empty> --full perhaps", "full"),
    Command("sample <empty> --num few", "num"),
    Command("sample <empty> --label three", "label"),
    Command("fit-prior <empty>", "out"),
    Command("fit-prior <empty> --out <new> --prior Nonsense", "Nonsense"),
    Command("compare", "runs"),
    Command("compare no/such/run", "no/such/run"),
    Command("compare <empty>", "empty"),
    Command("compare <text.txt>", "text.txt"),
    Command("compare <list.json>", "list.json"),
    Command("compare <empty> --figur a.png", "figur"),
    Command("manifold --data no/such/file.npy", "no/such/file.npy"),
    Command("manifold --data digit", "digit"),
    Command("manifold --methods PAC", "PAC"),
    Command("manifold --seeds 0", "seeds"),
    Command("manifold --seeds x", "seeds"),
    Command("manifold --take 0", "take"),
    Command("manifold --held-out -1", "held"),
    Command("manifold --steps 0", "steps"),
    Command("manifold --device gpu", "gpu"),
    Command("manifold --nonsense", "nonsense"),
    Command("demo --epochs 0", "epochs"),
    Command("demo --epochs x", "epochs"),
    Command("demo --num-samples 0", "num"),
    Command("demo --seed -1", "seed"),
    Command("demo --nonsense", "nonsense"),
    Command("demo extra", "extra"),
]
