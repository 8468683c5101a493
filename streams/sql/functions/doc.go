// Package functions holds SQL's types and its built-in functions.
//
// A Type describes what a column or an expression holds. A function is one entry
// of a list: its name, what it is for, its variants (the argument types it takes
// and the type it returns) and examples that the tests execute. To add one, write
// its entry in the file of its family; All gathers the families.
package functions
