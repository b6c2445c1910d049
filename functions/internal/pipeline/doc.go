// Package pipeline runs the whole pipeline as processes, as it is deployed, and reads what it left in its stores. The pipeline test and the game day prove the same promise with it,
// by the same reading.
//
// [Platform] is the local platform as a process of its own, with the functions as its children. [Stores] reads durable state, and nothing else: records of topics, documents of
// indexes, rows of the objects that the landing log names. It believes no counter and no metric of what it looks at.
//
// Nothing here waits for a state or decides what is right: that is its callers' business. It finds functions in /proc, so it needs Linux.
//
// 2026-11-21. Context: the pipeline test had this as part of a test file; the game day is a program and needs the same. Decision: one package that returns errors and knows no
// testing.T. Consequences: tests wrap each call; a change of a store's format is one change here.
package pipeline
