// Package ptytest gives tests a terminal and somebody who sits at it. It is for Linux and Darwin.
package ptytest
