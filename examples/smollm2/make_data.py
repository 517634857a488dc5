"""A small task for a small model: which of three words does not fit? A line of reasoning per word.

    python examples/smollm2/make_data.py FOLDER

writes train.jsonl and test.jsonl. The columns are `puzzle`, `odd_one` and `worked`.
"""

import json
import random
import sys
from pathlib import Path

TEXT = {
    "animal": "cat dog cow horse sheep duck lion bear mouse goat pig wolf",
    "fruit": "apple banana cherry grape lemon peach plum pear mango melon",
    "color": "red blue green yellow black white brown pink purple gray",
    "tool": "hammer saw drill wrench knife shovel axe ladder rope nail",
    "vehicle": "car bus train truck boat ship plane bike van tram",
}
WORDS = {kind: text.split() for kind, text in TEXT.items()}


def puzzle(rng: random.Random) -> dict[str, str]:
    """Two words of a kind and one of another, in any order."""
    kind, other = rng.sample(list(WORDS), 2)
    odd = rng.choice(WORDS[other])
    words = [*rng.sample(WORDS[kind], 2), odd]
    rng.shuffle(words)
    lines = []
    for word in words:
        own = other if word == odd else kind
        lines.append(f"{word.capitalize()} is {'an' if own[0] in 'aeiou' else 'a'} {own}.")
    return {
        "puzzle": f"Which word does not fit: {', '.join(words)}?",
        "odd_one": odd,
        "worked": "\n".join(lines),
    }


def main(folder: Path) -> None:
    rng = random.Random(20)
    puzzles = {row["puzzle"]: row for row in (puzzle(rng) for _ in range(600))}
    rows = list(puzzles.values())
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("test", rows[:48]), ("train", rows[48:448])):
        text = "".join(json.dumps(row) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
