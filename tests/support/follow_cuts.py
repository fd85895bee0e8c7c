"""A migration over networks that fail again and again, at random moments of the follow.

::

    FollowCutRun(ProxiedMigration(...), seed=7, faults=5).run()
"""

from tests.support import networks
from tests.support.disturbed_follow import DisturbedFollow
from tests.support.networks import FOLLOWING, ProxiedMigration


class FollowCutRun(DisturbedFollow):
    """One migration with ``faults`` faults of the network in it."""

    migration: ProxiedMigration

    def __init__(
        self, migration: ProxiedMigration, seed: int, *, faults: int, pause: float = 1.5
    ) -> None:
        super().__init__(migration, seed, faults=faults, pause=pause)

    def disturb(self) -> None:
        """Let one network fail for a while."""
        fault = networks.fail(self.migration, self.random, FOLLOWING)
        self.goes_on(self.random.uniform(0.5, 4))
        if fault.heal():
            self.tally.faults[fault.kind] += 1
            self.recovery.after(fault.kind)
        if self.running.is_running:
            self.tally.survived += 1
            return
        self.gave_up()
