"""What befalls a store as a whole, one fault or two: after it, either revisions go on, or the store has declared that they may not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from resilience._core.description import Fault, every_fault
from resilience.stores import ANY
from resilience.testing import VirtualClock
from resilience.typing import Store


#: Seconds by which the wall clock is set back.
BACK = 3600.0


def revisions_go_on(
    opened: Callable[[VirtualClock], Store],
    befall: Mapping[Fault, Callable[[Store, VirtualClock], Store]],
) -> dict[frozenset[Fault], bool]:
    """Whether revisions went on after each fault, and each pair of faults, of those that can befall this store.

    Every outcome is held against what the store declares: what it says it survives it must survive; what it does not, it
    must be seen not to survive, or it says too little of itself.

    Args:
        opened: Makes a new, empty store on the given clock.
        befall: For each fault, what brings it about: is given the store, and returns the store to go on with. The clock
            faults are brought about here.
    """
    able = {*befall, Fault.REBOOTED, Fault.CLOCK_SET_BACK}
    outcome = {}
    for faults in sorted(every_fault(), key=lambda some: (len(some), sorted(some))):
        if not faults <= able:
            continue
        clock = VirtualClock()
        store = opened(clock)
        declared = store.describe().revisions_survive
        clock.advance(1)
        # Many writes in one instant, so that the count is ahead of the clock; then a removal.
        seen = [store.compare_and_set("key", b"1", expected=ANY).revision for _ in range(5)]
        store.remove("key", expected=ANY)
        seen += [store.compare_and_set("key", b"2", expected=ANY).revision for _ in range(2)]
        assert seen == sorted(set(seen))
        for fault in sorted(faults):
            if fault is Fault.CLOCK_SET_BACK:
                clock.jump_wall(-BACK)
            elif fault is Fault.REBOOTED and fault not in befall:
                clock.advance(1)
                clock.reboot()
            else:
                clock.advance(1)
                store = befall[fault](store, clock)
        again = [store.compare_and_set("key", b"3", expected=ANY).revision for _ in range(2)]
        outcome[faults] = min(again) > max(seen)
        assert outcome[faults] is (faults in declared), f"{sorted(faults)}: revisions {seen}, then {again}"
        store.close()
    return outcome
