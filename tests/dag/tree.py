"""A copy of the workflow in a directory of its own, and what snakemake would do or does there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import warm

REPOSITORY = Path(__file__).parents[2]
WORKFLOW = ("Snakefile", "rules", "workflow", "config", "profiles", "environment.yml")
STUDY = "tiny.yaml"
STOP = "\nraise SystemExit('error: a test has stopped this')\n"
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def replaced(text: str, old: str, new: str, where: str) -> str:
    """`text` with `new` for `old`, which must stand there exactly once: an edit that changes nothing tests nothing."""
    times = text.count(old)
    assert times == 1, f"{where} has {times} times, not once, what this test edits (did it move?): {old!r}"
    return text.replace(old, new)


@dataclass(frozen=True)
class Tree:
    """A working copy at `root`."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=lambda: OFFLINE)

    @classmethod
    def create(cls, root: Path) -> "Tree":
        """A fresh copy of the workflow, and of the tiny study, at `root`."""
        root.mkdir(parents=True, exist_ok=True)
        for name in WORKFLOW:
            copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy2
            copy(REPOSITORY / name, root / name)
        shutil.copy2(Path(__file__).with_name(STUDY), root / STUDY)
        return cls(root)

    def add_inputs(self) -> None:
        """Make the models and the text of the tiny study."""
        import torch
        from safetensors.torch import load_file, save_file

        import tiny

        assets = self.root / "assets"
        tiny.make_model(assets / "tiny")
        broken = tiny.make_model(assets / "broken", blocks=1) / "model.safetensors"
        weights = load_file(broken)
        weights["model.layers.0.mlp.up_proj.weight"][3, 5] = torch.nan
        save_file(weights, broken, metadata={"format": "pt"})
        (assets / "text.txt").write_text("\n".join(tiny.make_text(60)))

    def copy(self, root: Path) -> "Tree":
        """A copy of this tree at `root` with all results, modification times and Snakemake's records."""
        shutil.copytree(self.root, root, symlinks=True, dirs_exist_ok=True)
        return Tree(root)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the only occurrence of `old`."""
        self.rewrite(file, lambda text: replaced(text, old, new, file))

    def rewrite(self, file: str, edit: Callable[[str], str]) -> None:
        """Give `file` the text that `edit` makes of its own, which must be another."""
        text = (self.root / file).read_text()
        assert edit(text) != text, f"the edit changes nothing in {file}"
        (self.root / file).write_text(edit(text))

    def stop_jobs(self, rule: str) -> None:
        """Let every job of `rule` stop with an error, until `mend_jobs`."""
        self.rewrite(f"workflow/prunebench/stages/{rule}.py", lambda text: text + STOP)

    def mend_jobs(self, rule: str) -> None:
        """Take back `stop_jobs`."""
        self.rewrite(f"workflow/prunebench/stages/{rule}.py", lambda text: text.removesuffix(STOP))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command here to its end; stdout and stderr are one text."""
        process = self.start(*command)
        return subprocess.CompletedProcess(command, stdout=process.communicate()[0], returncode=process.returncode)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command here, in a session of its own. Processes of `python` begin warm, with OFFLINE."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHONPATH"))}
        first = [warm.directory()] if self.environment == OFFLINE else []
        path = os.pathsep.join(map(str, [*first, Path(sys.executable).parent, os.environ["PATH"]]))
        environment = {**kept, "PATH": path, **self.environment}
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def snakemake(self, *arguments: str, study: str = STUDY) -> subprocess.CompletedProcess[str]:
        """Run snakemake on `study`."""
        # Targets before --configfile, which would swallow them.
        return self.run("python", "-m", "snakemake", *arguments, "--cores", "2", "--configfile", study)

    def python(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `code` with this copy of the package."""
        lines = f"import sys; sys.path.insert(0, {str(self.root / 'workflow')!r}); {code}"
        return self.run("python", "-c", lines, *arguments)

    def git(self, *arguments: str) -> None:
        """Run git with an identity of its own."""
        settings = ("user.name=Test", "user.email=test@example.invalid", "commit.gpgsign=false")
        run = self.run("git", *(word for setting in settings for word in ("-c", setting)), *arguments)
        assert run.returncode == 0, run.stdout

    def planned(self, *arguments: str) -> set[str]:
        """The jobs of a dry run: the rule and its wildcards' values, as in 'calibrate tiny text_4x16 0'."""
        run = self.snakemake("--dry-run", *arguments)
        assert run.returncode == 0, run.stdout
        found = [
            " ".join([rule, *re.findall(r"\w+=([^,\n]+)", "".join(re.findall(r"^    wildcards: .*", details, re.M)))])
            for rule, details in re.findall(r"^rule (\w+):\n((?:    .*\n)+)", run.stdout, re.M)
        ]
        total = re.search(r"^total +(\d+)$", run.stdout, re.M)
        assert len(set(found)) == int(total[1]) if total else "Nothing to be done" in run.stdout, run.stdout
        return set(found)
