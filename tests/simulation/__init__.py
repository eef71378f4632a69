"""The worker's own code, run by the thousand in worlds where everything that can go wrong does, by seed.

`loop` is an event loop without a clock, `cluster` a Kafka, `redis` a Redis that fails, `worker` the production worker over
both, `world` what happens and what must hold. A seed decides all of it, and repeats it.
"""
