"""prepare: write the problems.

in  params prepare
out data/problems.parquet (table problems)
"""

from rosd_core.errors import RosdError
from rosd_core.params import Params
from rosd_core.tables import to_arrow, write_table
from rosd_core.world import DOMAINS, make_problem
from stages.common import Paths


def run(params: Params, paths: Paths) -> None:
    """Train problems of one domain, test problems of several; no text stands in both splits."""
    p = params.prepare
    for domain in (p.train_domain, *p.test_domains):
        if domain not in DOMAINS:
            raise RosdError(
                f"prepare: there is no domain {domain!r}; there are: {', '.join(DOMAINS)}."
            )
    wanted = [("test", d, p.test_problems) for d in p.test_domains] + [
        ("train", p.train_domain, p.train_problems)
    ]
    rows, seen = [], set()
    for split, domain, count in wanted:
        index = made = 0
        while made < count:
            if index > 100 * count:
                raise RosdError(
                    f"prepare: domain {domain} has fewer than {count} different problems; "
                    "ask for fewer."
                )
            problem = make_problem(p.seed, domain, split, index, tuple(p.steps))
            index += 1
            if problem.prompt in seen:
                continue
            seen.add(problem.prompt)
            made += 1
            fields = ("problem_id", "domain", "split", "prompt", "answer", "solution")
            rows.append(
                {k: getattr(problem, k) for k in fields} | {"system": None, "grader": "answer_line"}
            )
    write_table("problems", to_arrow("problems", rows), paths.problems)


if __name__ == "__main__":
    from stages.cli import main

    main("prepare")
