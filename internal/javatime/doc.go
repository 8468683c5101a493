// Package javatime writes and reads times by the date patterns of Java, which
// Kafka Connect's transforms and ksqlDB's functions take from their users.
//
// # The few types
//
// A [Pattern] is a pattern taken apart, once, by [Compile]; afterwards
// [Pattern.AppendFormat] writes times by it and [Pattern.Parse] reads them. It does
// not change and may be used by many goroutines. [LoadZone] finds the time zones
// that the users of patterns name.
//
// Java has two languages of patterns that look alike. A [Dialect] says which one is
// meant, and they differ in more than their letters:
//
//	                      SimpleDateFormat           DateTimeFormatter
//	u                     day of the week, 1 Monday  year, negative before year 1
//	S                     milliseconds               digits of the second's fraction
//	yy read               within 80 years back and   2000 to 2099
//	                      20 ahead of now
//	five letters M or E   the whole name             the first letter
//	X                     hours alone                minutes too, when there are any
//	[ and ]               text                       left out
//	what is out of range  rolls over                 is refused
//	widths, names         any number of digits,      as the letters say
//	                      short or whole
//	blanks before a part  are skipped                are refused
//	text after the end    is left alone              is refused
//
// Letters for weeks of the year, and whatever else is not known, are refused by
// Compile. Names are English. Optional sections ([ and ]) are read as if they had to
// be there, letter case never matters in reading, and a day that its month does not
// have (30 February) is refused rather than moved to the month's last.
//
// The languages are those of
// https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/text/SimpleDateFormat.html
// and
// https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/time/format/DateTimeFormatter.html
//
// # An example
//
//	p, err := javatime.Compile(javatime.DateTimeFormatter, "yyyy-MM-dd HH:mm")
//	if err != nil {
//		return err
//	}
//	at, err := p.Parse("2024-02-09 15:04", time.UTC)
//	if err != nil {
//		return err
//	}
//	text := p.AppendFormat(nil, at)
package javatime
