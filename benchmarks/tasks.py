"""Can one model also make the sound for a film, and the film for a sound? Trains the joint phases of a finished toy
curriculum again, with shares of both tasks, and compares both on the same held-out prompts.

    python benchmarks/tasks.py runs/mova-toy-XXXXXXXX/0001 [--recipes recipes/mova/toy]
"""

import json

from bridge import JOINT, arguments, measured, phase_folders, train_variant

TASKS = "phase.tasks={joint: 0.6, sound_to_video: 0.2, video_to_sound: 0.2}"
KEYS = (
    "sync",
    "sync_reference",
    *(f"{task}/{key}" for task in ("sound_to_video", "video_to_sound") for key in ("sync", "sync_original")),
)


def main() -> None:
    """Print the comparison and write it to RUN/tasks.json."""
    args = arguments(str(__doc__))
    variant = train_variant(args.run, args.recipes, args.runs, args.overrides, name="tasks", changed=TASKS)
    arms = {"joint alone": phase_folders(args.run)[JOINT[-1]], "with tasks": variant}
    table = measured(arms, KEYS, args)
    loss = table["joint alone"]["evaluation/sync"] - table["with tasks"]["evaluation/sync"]
    print(f"joint synchronisation lost to the tasks: {loss:.3f}")
    (args.run / "tasks.json").write_text(json.dumps({"arms": table, "loss": loss}, indent=2) + "\n")


if __name__ == "__main__":
    main()
