//go:build !unix

package listener

import "io/fs"

func withMode(_ fs.FileMode, bind func()) { bind() }
