"""Commands that share soft prompts: with the Hub, and with the Hub's cache on this machine.

Files:
    pull.py      pull: fetch, pinned to a commit
    cached.py    list and rm: what is in the cache
    search.py    search: find soft prompts on the Hub
    show.py      show: what one is, without loading a model
    push.py      push: publish a folder, after a look at what changes
    lock.py      lock: pin every soft prompt of an application
"""
