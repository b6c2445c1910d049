// Package objectstore is the object storage of one machine: Versity's S3 gateway on a directory, as a child process.
//
// It guarantees that `If-None-Match: *` holds for single PUTs, listings are in byte order with start-after, and, as its tests prove, that an object whose PUT was answered
// is there after a SIGKILL of the child or of this process. It does not survive the machine's own crash: the gateway calls no fsync. The child
// ends with this process in whatever way that ends: it reads a pipe of ours to its end, and on Linux the kernel kills it.
//
// It does no lifecycle rules (501), no trailing checksums, and no key may be another key's folder. An object's metadata lies in extended attributes, which the
// directory's file system must have; [Start] says so where it has not.
//
// # 2026-11-21: a child of the same binary
//
// Context: versitygw's posix backend calls chdir and keeps package-level state, so that relative paths of the whole process would change and one process
// could hold one store only. A binary of its own would have to be built and found.
//
// Decision: the platform's binary starts itself again with one argument that nobody types; [Main] at the very beginning of main takes that over. What the child must know,
// the secret among it, comes by its standard input, so that it is neither in arguments nor in the environment.
//
// Consequences: some 15 MB of memory while idle (PSS), and no CPU. A program (or TestMain) that calls Start must call Main first. The child has a process group of its own: a Ctrl-C on the terminal
// does not reach it, and it can be closed after those who use it.
package objectstore
