// Checks a ledger with golang.org/x/mod/sumdb, which knows nothing of Comity: the signature under
// the head (note.Open), every entry in it (tlog.CheckRecord), and that it extends older heads
// (tlog.CheckTree). Reads one JSON object from standard input, prints one; exit 1: not accepted.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type input struct {
	Key     string     `json:"key"`
	Note    []byte     `json:"note"`
	Entries [][]byte   `json:"entries"`
	Paths   [][][]byte `json:"paths"`
	Older   []struct {
		Size int64    `json:"size"`
		Root []byte   `json:"root"`
		Path [][]byte `json:"path"`
	} `json:"older"`
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

func hash(raw []byte) (h tlog.Hash) {
	if len(raw) != len(h) {
		fail("a hash of %d bytes", len(raw))
	}
	copy(h[:], raw)
	return h
}

func hashes(raw [][]byte) []tlog.Hash {
	list := make([]tlog.Hash, len(raw))
	for i, each := range raw {
		list[i] = hash(each)
	}
	return list
}

func main() {
	var given input
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		fail("input: %v", err)
	}
	verifier, err := note.NewVerifier(given.Key)
	if err != nil {
		fail("key: %v", err)
	}
	opened, err := note.Open(given.Note, note.VerifierList(verifier))
	if err != nil {
		fail("note: %v", err)
	}
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		fail("size: %v", err)
	}
	raw, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil {
		fail("root: %v", err)
	}
	root := hash(raw)
	for i, entry := range given.Entries {
		path := tlog.RecordProof(hashes(given.Paths[i]))
		if err := tlog.CheckRecord(path, size, root, int64(i), tlog.RecordHash(entry)); err != nil {
			fail("entry %d: %v", i, err)
		}
	}
	for _, older := range given.Older {
		path := tlog.TreeProof(hashes(older.Path))
		if err := tlog.CheckTree(path, size, root, older.Size, hash(older.Root)); err != nil {
			fail("from %d: %v", older.Size, err)
		}
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"signatures": len(opened.Sigs), "others": len(opened.UnverifiedSigs),
		"entries": len(given.Entries), "older": len(given.Older),
	})
}
