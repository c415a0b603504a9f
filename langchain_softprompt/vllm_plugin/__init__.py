"""The server's side of vLLM: soft prompts of keys and values, put into the cache of the requests that wear them.

Nothing here is imported unless a vLLM server imports it; vLLM itself is no dependency of this package. The client's side is
`langchain_softprompt.remote`.

Files:
    names.py       what server, client and command line have to call alike
    served.py      ServedSoftPrompts: the soft prompts that a server was started with, by content hash
    salting.py     Salts: under which name a soft prompt's cache blocks are kept apart
    wearing.py     what a request says of the soft prompt it wears, and why it is refused
    connector.py   SoftPromptConnector: vLLM's KV connector; writes keys and values into cache blocks
    sharding.py    which heads and layers of a soft prompt one worker holds
    refusal.py     RefusalError: a request that is answered with an error
    serving.py     Serving: what a server serves, and whether a request may wear it
    endpoints.py   SoftPromptEndpoints: the routes ``/v1/soft_prompts`` and ``/v1/soft_prompts/completions``
"""
