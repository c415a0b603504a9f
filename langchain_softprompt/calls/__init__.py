"""What every call of a LangChain model of ours needs, whether it chats or completes: `chat_models` and `llms` stand on it.

Files:
    configured.py   the fields, how they are checked, and what one call settles on
    naming.py       what identifies a model in caches and traces: its weights, its settings, its soft prompt's content
    arguments.py    which arguments are known, at construction and per call
    response_format.py  what a call's answer is held to, and its check
    answering.py    one request from submission to its end
    batching.py     batches reach the engine all at once
    leaving.py      the interpreter does not wait for batches that nobody can take any more
    shelf.py        soft prompts loaded in this process
    errors.py       our errors as members of LangChain's error family too
    ports.py        what is asked of an engine
"""
