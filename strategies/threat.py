"""What a run plan leaves open to a hostile site and to the centre, in a few sentences for the person who starts the run."""

from protocol.plan import AVERAGING, RunPlan, Screening, StrategyName

_BACKDOOR = "A site whose update looks like the others' can still teach the network something of its own."
_SEEN = "The centre sees each site's own noised update."
_UNSEEN = "The centre sees the sum of the updates and no single one, so it can screen out none."


def threat_left_open(plan: RunPlan) -> str:
    """Return what `plan` withstands and what it does not, in plain words."""
    parts = [_of_the_strategy(plan)]
    if plan.screening.wanted:
        parts.append(_of_the_screening(plan.screening, averaging=plan.strategy in AVERAGING))
    if plan.compares_updates:
        parts.append(_BACKDOOR)
    parts.append(_SEEN if plan.secure_sum is None else _UNSEEN)
    return " ".join(parts)


def _of_the_strategy(plan: RunPlan) -> str:
    trim, byzantine = plan.trim, plan.krum_byzantine
    median_norm = "No update pulls harder than the median one, but hostile sites still choose the direction of their share of the mean."
    return {
        StrategyName.FEDAVG: _unguarded(plan),
        StrategyName.FEDPROX: _unguarded(plan),
        StrategyName.FEDADAM: _unguarded(plan),
        StrategyName.TRIMMED_MEAN: f"Withstands {_sites(trim)} in a round, and {trim + 1} that act together decide values.",
        StrategyName.MEDIAN: "Withstands fewer than half of the sites of a round; from half on they decide values.",
        StrategyName.KRUM: f"Withstands {_sites(byzantine)} in a round; {byzantine + 1} that act together can be the update that is chosen.",
        StrategyName.MULTI_KRUM: f"Withstands {_sites(byzantine)} in a round; {byzantine + 1} that act together can be among those that are averaged.",
        StrategyName.CLIPPED_MEAN: median_norm,
    }[plan.strategy]


def _unguarded(plan: RunPlan) -> str:
    if plan.screening.wanted:
        return "The mean itself withstands nothing: what the screening lets pass counts in full."
    return "Withstands no hostile site: one update can move the mean anywhere."


def _of_the_screening(rules: Screening, *, averaging: bool) -> str:
    ruled = []
    if rules.norm_factor is not None:
        ruled.append(f"longer than {rules.norm_factor:g} times the median norm")
    if rules.min_cosine is not None:
        ruled.append(f"whose cosine with the coordinate-wise median is below {rules.min_cosine:g}")
    kept = " An update within these bounds is not hindered." if averaging else ""
    return f"Updates are left out that are {' or '.join(ruled)}.{kept}"


def _sites(count: int) -> str:
    return "one hostile site" if count == 1 else f"{count} hostile sites"
