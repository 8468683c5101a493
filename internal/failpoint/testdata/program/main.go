// Program passes two failpoints three times.
package main

import (
	"fmt"

	"github.com/tidemill/tidemill/internal/failpoint"
)

func main() {
	for i := range 3 {
		if failpoint.Fail("worker.offsets.write") != nil {
			fmt.Print("failed ")
		}
		failpoint.At("worker.acked")
		fmt.Print(i+1, " ")
	}
	fmt.Println("end")
}
