// Toil is the one program in the test node's only image: it uses exactly as much as it is told to.
//
//	toil -millicores 50    keeps its own CPU time at 50 ms per second
//	toil -mib 50           holds 50 resident MiB
//	toil -after 20s        leaves with 0 (an init container)
//	toil                   waits for a signal (the sandbox)
package main

import (
	"flag"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

var (
	held []byte
	sink int
)

func main() {
	millicores := flag.Int("millicores", 0, "CPU time to use, in thousandths of a core")
	mib := flag.Int("mib", 0, "memory to hold, in MiB")
	after := flag.Duration("after", 0, "leave after this long")
	flag.Parse()
	held = make([]byte, *mib<<20)
	for i := 0; i < len(held); i += 4096 {
		held[i] = 1 // a page counts when it is written to
	}
	if *millicores > 0 {
		go burn(*millicores)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	var over <-chan time.Time
	if *after > 0 {
		over = time.After(*after)
	}
	select {
	case <-ended:
	case <-over:
	}
}

// Burn catches up, each 20 ms, with what should have been used by now: late ticks cost nothing in the long run.
func burn(millicores int) {
	runtime.LockOSThread()
	start, base := time.Now(), used()
	for range time.Tick(20 * time.Millisecond) {
		for used()-base < time.Since(start)*time.Duration(millicores)/1000 {
			for i := range 20000 {
				sink += i
			}
		}
	}
}

// Used is the CPU time of this process.
func used() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
