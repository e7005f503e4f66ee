"""What the write-ahead log says: START HERE is `reader`, which turns segments into facts.

The way of the bytes: `pages` takes the page headers off, `records` cuts the rest
into records and proves them, `columns` and `decoding` find what they touch,
`relations`, `transactions` and `judging` put together what each transaction did,
`naming` knows whose files they were, and `telling` says it in words.
"""
