package browser

import (
	"os"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
