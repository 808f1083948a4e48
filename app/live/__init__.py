"""The live side of a serving process: a board per realm, frames encoded once in shared rings, sockets that pull.

Owns what is on a wall right now and how it reaches the browsers. Does not own history (`app.store`), routes (`app.api`)
or the records it reads. A process that serves has one hub; it tails the stream without a group.
"""
