// Package recount works out what a streams application must have written, from what it
// was given, in the plainest way there is, and names what is wrong with what it wrote.
//
// It also says what the application is: which topics it reads and writes ([Moves] and the
// names of topics), and what comes of each record ([MovesOf]). Package torture/fleet is the
// application, made of the operators of streams; nothing of streams is used here.
//
//	changes of transfers ─┐
//	manifests            ─┼─ events, 4 partitions ─┬─ counts    how many moves a key has had
//	ticks                ─┘                        ├─ windows   their number and sum in each second, every change
//	                                               ├─ closed    the same, once, when the second is over
//	                                               ├─ pairs     debits with the credits near them, or alone
//	                                               ├─ lately    debits, which wait for that, with the last credit before them
//	                                               ├─ enriched  debits with the account as it was
//	changes of accounts ─── accounts, 4 partitions ┴─┬─ total    the sum of all
//	                                                 └─ members  each with the number of accounts in its group
//
// The transfers come in one partition and are cut into four in their order, so what has to
// come of them is known to the last record: late ones are dropped by the time of their own
// partition. Between transfers and accounts there is no order: there any version of the
// account will do that is not older than the one before.
//
// # What is compared
//
//	counts, windows   every result of every key, in order
//	lately            the same
//	closed            one result of each window
//	pairs             each result as often as it must be there
//	enriched          every result in order, and the accounts never go back
//	total, members    the last result of each key
//	beats             every manifest once
//
// What is missing is [Lost], what is there too often [Twice], what is something else
// [Diff].
package recount
