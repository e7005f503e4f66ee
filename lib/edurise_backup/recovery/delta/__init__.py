"""Make a directory that holds something what a snapshot says, and fetch only what differs.

START HERE: `restorer` has the two calls. What is there is looked at (`looking`), read and compared with the snapshot
(`comparing`); what follows from that is decided (`deciding`) and is a value (`plan`), which can be shown; then it is
done (`restorer`: single `acts`, and files that are put together in `assembly`, all in one `target`).
"""
