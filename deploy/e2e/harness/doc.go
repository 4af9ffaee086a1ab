// Package harness treats the built program badly and checks what it had
// promised. It imports nothing of the program: it starts the binary, posts
// signed webhooks as WorkOS does, and looks at the result as an operator does.
//
//	crash_test.go   kill -9 under a flood of webhooks, again and again: every
//	                event that was answered 200 is in effect after the restart
//	fsync_test.go   the 200 leaves only after the event is on the disk, seen at
//	                the system calls (kill -9 alone cannot show that: the
//	                kernel's page cache survives it)
//	powercut_test.go the disk as a power cut would leave it, made from the
//	                recorded system calls: every event answered before is there
//	catchup_test.go kill -9 while it catches up on events without webhooks: none
//	                is left out
//	storm_test.go   WorkOS answering with errors, half pages and nonsense, mixed
//	                and each kind alone: no decision changes, and afterwards
//	                everything is caught up
//
// The first three prove that they can fail: they run once more against a build
// that is broken on purpose, and must report it.
//
// What they stand on:
//
//	main_test.go     builds the program, tells at the end what was proven
//	../program       builds, starts and kills programs
//	gate_test.go     one `batterygate dev` and its APIs
//	browser_test.go  signs people in, asks for apps
//	event_test.go    WorkOS events and their signatures
//	history_test.go  makes up histories, one for each connection
//	fold_test.go     what a set of events must have come to
//	strace_test.go   reads what strace wrote
//
// The lengths are for CI. SOAK=1 makes them long. BATTERYGATE_BIN names a binary
// to test instead of building one. Without strace (a Debian package, "make
// tools" fetches it) the tests that need it are skipped, loudly, and fail where
// CI is set.
package harness
