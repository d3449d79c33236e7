"""Ten writers of one record, each of whom thinks for 2 ms: who gets through, after how many tries, and how late.

`simulated` runs them in virtual time on a store whose every verb takes a while; `real` runs them as ten processes on the
stores themselves. Both run the same policies (`policies`), so that what is seen in one can be looked for in the other.
"""
