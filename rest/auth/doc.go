// Package auth finds out who sends a request, and what they may do.
//
// # The few types
//
// A [Gate] is made from settings by [New]. It has a [Method] for each kind of credentials
// that the settings name: passwords, tokens, signed tokens (JWT) and certificates. Its
// Identify returns a [Principal], which knows its [Role] and which connectors the role
// is for. Without any method everybody is let in, as somebody who may do everything.
//
// # To add a method
//
// Write a file with a type that implements [Method], the settings it reads, and a function
// that returns nil when the settings do not ask for it; add a line to list.go.
//
// # What is kept
//
// Passwords are kept as bcrypt hashes in a file that htpasswd -B writes as well, tokens as
// SHA-256 digests: they are long and random, so that there is nothing to guess. Files are
// read again when they change; one that has become unusable is reported, and what was
// read before stays in force. Who guesses passwords is made to wait.
package auth
