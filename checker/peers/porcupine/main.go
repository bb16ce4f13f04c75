// Judges one register history with Porcupine and prints what it took, in the
// same columns as the checker's own side of the comparison:
// operations, verdict, seconds of the check alone, peak memory in KiB, memory
// before the check in KiB.
//
// Usage: porcupine FILE SECONDS
//
// An operation of unknown outcome is given to Porcupine as one that returns
// after everything else and whose answer agrees with any; that is how its own
// tests treat them. A failed cas without an observation is left out.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

type event struct {
	Process any             `json:"process"`
	Type    string          `json:"type"`
	F       string          `json:"f"`
	Value   json.RawMessage `json:"value"`
	Error   any             `json:"error"`
}

// absent stands for null, which no history here writes.
const absent = int64(-1) << 62

type input struct {
	op       byte // 'r', 'w' or 'c'
	old, new int64
}

type output struct {
	value   int64
	applied bool
	absent  bool // a cas that found no key
	unknown bool
}

var model = porcupine.Model{
	Init: func() interface{} { return absent },
	Step: func(state, in, out interface{}) (bool, interface{}) {
		now, given, seen := state.(int64), in.(input), out.(output)
		switch given.op {
		case 'r':
			return seen.unknown || seen.value == now, now
		case 'w':
			return true, given.new
		default:
			switch {
			case seen.unknown && now == given.old:
				return true, given.new
			case seen.unknown:
				return true, now
			case seen.applied:
				return now == given.old, given.new
			case seen.absent:
				return now == absent, now
			default:
				return now != given.old, now
			}
		}
	},
	Equal: func(one, two interface{}) bool { return one == two },
}

func number(raw json.RawMessage) int64 {
	text := strings.TrimSpace(string(raw))
	if text == "null" || text == "" {
		return absent
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		fail(err)
	}
	return value
}

func pair(raw json.RawMessage) (int64, int64) {
	var both []json.RawMessage
	if err := json.Unmarshal(raw, &both); err != nil || len(both) != 2 {
		fail(fmt.Errorf("a cas needs two values, not %s", raw))
	}
	return number(both[0]), number(both[1])
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(2)
}

func memory(field string) string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "-"
	}
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, field) {
			return strings.Fields(line)[1]
		}
	}
	return "-"
}

// read pairs the events of a file into Porcupine's operations.
func read(path string) []porcupine.Operation {
	file, err := os.Open(path)
	if err != nil {
		fail(err)
	}
	defer file.Close()
	var operations []porcupine.Operation
	open := map[int64]int{}
	names := map[int64]int{}
	gone := map[int]bool{}
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 1<<20), 1<<26)
	var at int64
	for scanner.Scan() {
		var e event
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			fail(err)
		}
		float, isNumber := e.Process.(float64)
		if !isNumber {
			continue
		}
		at++
		process := int64(float)
		if e.Type == "invoke" {
			if _, known := names[process]; !known {
				names[process] = len(names)
			}
			given := input{op: e.F[0]}
			switch e.F {
			case "write":
				given.new = number(e.Value)
			case "cas":
				given.old, given.new = pair(e.Value)
			}
			open[process] = len(operations)
			operations = append(operations, porcupine.Operation{
				ClientId: names[process], Input: given, Call: at, Output: output{unknown: true}, Return: -1,
			})
			continue
		}
		index := open[process]
		operation := &operations[index]
		switch e.Type {
		case "ok":
			seen := output{applied: true}
			if e.F == "read" {
				seen.value = number(e.Value)
			}
			operation.Output, operation.Return = seen, at
		case "fail":
			switch e.Error {
			case "precondition-failed":
				operation.Output, operation.Return = output{}, at
			case "key-does-not-exist":
				operation.Output, operation.Return = output{absent: true}, at
			default:
				gone[index] = true
			}
		}
	}
	if err := scanner.Err(); err != nil {
		fail(err)
	}
	kept := operations[:0]
	for index, operation := range operations {
		if gone[index] {
			continue
		}
		if operation.Return < 0 {
			if operation.Input.(input).op == 'r' {
				continue
			}
			operation.Return = at + 1
		}
		kept = append(kept, operation)
	}
	return kept
}

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: porcupine FILE SECONDS"))
	}
	seconds, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fail(err)
	}
	operations := read(os.Args[1])
	before := memory("VmRSS:")
	begun := time.Now()
	result := porcupine.CheckOperationsTimeout(model, operations, time.Duration(seconds)*time.Second)
	took := time.Since(begun).Seconds()
	verdict := map[porcupine.CheckResult]string{
		porcupine.Ok: "valid", porcupine.Illegal: "invalid", porcupine.Unknown: "unknown",
	}[result]
	fmt.Printf("%d\t%s\t%.6f\t%s\t%s\n", len(operations), verdict, took, memory("VmHWM:"), before)
}
