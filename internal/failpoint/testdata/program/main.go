// Program passes two failpoints three times. With an argument it waits for a line before
// each time, and tells when it has read it.
package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/tidemill/tidemill/internal/failpoint"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for i := range 3 {
		if len(os.Args) > 1 && !lines.Scan() {
			break
		}
		if failpoint.Fail("worker.offsets.write") != nil {
			fmt.Print("failed ")
		}
		failpoint.At("worker.acked")
		fmt.Print(i+1, " ")
		if len(os.Args) > 1 {
			fmt.Println()
		}
	}
	fmt.Println("end")
}
