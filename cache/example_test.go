package cache_test

import (
	"context"
	"fmt"
	"time"

	"github.com/igproxy/igproxy/cache"
)

// The life of a token in the cache: unknown, stored, found.
func Example() {
	keys, err := cache.NewKeys(cache.KeysOptions{Secret: []byte("the client secret"), AppID: "1234567890"})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := cache.New(cache.Options{MaxBytes: 8 << 20}) // memory only; set Redis for a second tier
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(context.Background())

	k := keys.Derive("the short-lived token")
	if _, ok := c.Recall(k); !ok {
		fmt.Println("recall: a miss")
	}
	claim := c.Claim(context.Background(), k)
	fmt.Println("claim:", claim.Outcome, "so ask Instagram")
	claim.Remember(cache.Entry{Value: []byte("the long-lived token"), Expires: time.Now().Add(time.Hour)}, nil)
	if e, ok := c.Recall(k); ok {
		fmt.Printf("recall: %s\n", e.Value)
	}
	claim = c.Claim(context.Background(), k)
	fmt.Println("claim:", claim.Outcome, "from", claim.Tier)
	// Output:
	// recall: a miss
	// claim: alone so ask Instagram
	// recall: the long-lived token
	// claim: hit from memory
}
